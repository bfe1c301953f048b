// A service worker that loads a bundle when it is asked to, for faults.mjs.
import { Chimera } from "./static.mjs";
import { outcome } from "./faults.mjs";

addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("message", (event) => {
  event.waitUntil(outcome(() => Chimera.load(new URL("./", location.href))).then((found) => event.ports[0].postMessage(found)));
});
