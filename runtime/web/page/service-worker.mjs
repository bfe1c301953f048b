// Keeps the files of the page, so that it opens without a network. The loader keeps the model itself.

const CACHE = "chimera-page";
const PATIENCE = 3000; // milliseconds that the network has before a kept file is taken
const PAGE = /\.(mjs|css|html|svg|webmanifest|json)$/;

/** The addresses of the page's files, as the manifest lists them. */
async function addresses() {
  const manifest = await (await fetch("manifest.json", { cache: "no-cache" })).json();
  const names = manifest.files.filter(({ name, role }) => ["runtime", "data"].includes(role) && PAGE.test(name)).map(({ name }) => name);
  return ["./", "manifest.json", ...names].map((name) => new URL(name, import.meta.url).href);
}

async function keep() {
  const cache = await caches.open(CACHE);
  await cache.addAll((await addresses()).map((url) => new Request(url, { cache: "no-cache" })));
}

const later = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

/** What the network has, and keep it; what is kept where the network has nothing in time. */
async function answer(request) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request, { ignoreSearch: true });
  const fetched = fetch(request).then(async (response) => {
    if (kept && response.ok) await cache.put(new URL(request.url.split("?")[0]), response.clone());
    return response;
  });
  if (!kept) return fetched;
  const usable = fetched.then((response) => (response.ok ? response : kept), () => kept);
  return (await Promise.race([usable, later(PATIENCE)])) ?? kept;
}

addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("message", (event) => {
  if (event.data !== "keep") return;
  const [port] = event.ports;
  event.waitUntil(keep().then(() => port.postMessage({}), (error) => port.postMessage({ error: String(error.message ?? error) })));
});
addEventListener("fetch", (event) => {
  const { request } = event;
  const path = new URL(request.url).pathname;
  const ours = request.url.startsWith(new URL("./", import.meta.url).href);
  if (request.method !== "GET" || !ours || request.headers.has("Range")) return;
  if (PAGE.test(path) || path.endsWith("/")) event.respondWith(answer(request));
});
