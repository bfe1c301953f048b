// The switch that keeps this page for use without a network: its files in a service worker, the model in the loader's store.
import { element } from "./page.mjs";

const SCRIPT = "service-worker.mjs";

/** The address of the service worker as pages with Trusted Types want it. */
function trusted(url) {
  if (!globalThis.trustedTypes) return url;
  const isOurs = (given) => { if (given !== url) throw new TypeError("not a script of this page"); return given; };
  return globalThis.trustedTypes.createPolicy("chimera-page", { createScriptURL: isOurs }).createScriptURL(url);
}

async function keep(worker) {
  const { port1, port2 } = new MessageChannel();
  const answer = new Promise((resolve) => { port1.onmessage = ({ data }) => resolve(data); });
  worker.postMessage("keep", [port2]);
  const { error } = await answer;
  if (error) throw new Error(error);
}

/** Put the switch at the end of a place. */
export async function offerOffline(place, manifest, say) {
  if (!navigator.serviceWorker || !isSecureContext) return;
  const address = trusted(new URL(SCRIPT, import.meta.url).href);
  const input = element("input");
  input.type = "checkbox";
  input.setAttribute("role", "switch");
  const note = element("span", "note");
  const label = element("label", "offline");
  label.append(input, element("span", "", "Works offline"), note);
  place.append(label);
  const current = () => navigator.serviceWorker.getRegistration(new URL("./", import.meta.url));
  input.checked = Boolean((await current())?.active);
  input.addEventListener("change", async () => {
    input.disabled = false;
    try {
      if (input.checked) {
        note.textContent = "keeping the page…";
        await navigator.serviceWorker.register(address, { type: "module" });
        await keep((await navigator.serviceWorker.ready).active);
        await navigator.storage?.persist?.();
        note.textContent = "kept";
      } else {
        await (await current())?.unregister();
        for (const name of await caches.keys()) if (name.startsWith("chimera-page")) await caches.delete(name);
        note.textContent = "no longer kept";
      }
    } catch (error) {
      input.checked = false;
      note.textContent = `not kept: ${error.message}`;
    }
    say(`Works offline: ${note.textContent}`);
  });
}
