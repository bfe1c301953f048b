// Loads a bundle in one Chromium under faults of servers, storage and policies; prints what comes of each as JSON.
// usage: node faults.mjs URL OTHER_ORIGIN CHROMIUM
import { open } from "./browser.mjs";

const [url, other, executablePath] = process.argv.slice(2);
const { page, close } = await open(executablePath);
const context = page.context();
const found = {};

/** A page at the path, with `work` run in it; init: a script that runs before all of its own. */
async function at(path, work, argument, init) {
  const tab = await context.newPage();
  try {
    if (init) await tab.addInitScript(init);
    await tab.goto(`${url}${path}`);
    return await tab.evaluate(work, argument);
  } finally {
    await tab.close();
  }
}

/** Loads from the page's own folder, with options; `anew`: with an empty cache. */
const loads = async ({ anew, ...options }) => {
  const folder = location.href.replace(/[^/]*$/, "");
  const [{ Chimera }, { forgetAll, outcome }] = await Promise.all([import(`${folder}chimera.mjs`), import(`${folder}faults.mjs`)]);
  if (anew) await forgetAll(Chimera);
  return outcome(() => Chimera.load("./", options));
};
/** Options of pages with a policy, whose own script has the same. */
const own = { memory: { cache: "memory" }, inThread: { cache: "memory", worker: false } };

try {
  for (const worker of [true, false]) {
    const name = worker ? "worker" : "thread";
    found[`faults ${name}`] = await at("plain/empty.html", async (options) => {
      const [{ Chimera }, { faults }] = await Promise.all([import("./chimera.mjs"), import("./faults.mjs")]);
      return faults(Chimera, `${location.origin}/`, options);
    }, { worker });
    found[`aborts ${name}`] = await at("plain/empty.html", async (options) => {
      const [{ Chimera }, { aborts }] = await Promise.all([import("./chimera.mjs"), import("./faults.mjs")]);
      return aborts(Chimera, `${location.origin}/`, options);
    }, { worker });
  }
  await at("plain/empty.html", loads, { anew: true });
  found.again = await at("plain/empty.html", loads, {});
  found.cached = await at("plain/empty.html", async () => (await import("./chimera.mjs")).Chimera.cached());
  found.damaged = await at("plain/empty.html", async () => {
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("chimera");
    const changed = [];
    for await (const [name, handle] of folder.entries()) {
      if (name.startsWith("bundle.")) continue;
      const bytes = new Uint8Array(await (await handle.getFile()).arrayBuffer());
      if (changed.length === 0) bytes[0] ^= 1; // one bit
      const kept = changed.length === 1 ? bytes.subarray(1) : bytes; // one byte less
      if (changed.length < 2) {
        const file = await handle.createWritable();
        await file.write(kept);
        await file.close();
        changed.push(bytes.length);
      }
    }
    const { Chimera } = await import("./chimera.mjs");
    const { outcome } = await import("./faults.mjs");
    return { changed: changed.reduce((a, b) => a + b), ...(await outcome(() => Chimera.load("./"))) };
  });
  found.half = await at("plain/empty.html", async () => {
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("chimera");
    const parts = [];
    for await (const [name, handle] of folder.entries()) if (!name.startsWith("bundle.")) parts.push([name, (await handle.getFile()).size]);
    const gone = parts.filter((_, index) => index % 2 === 0);
    for (const [name] of gone) await folder.removeEntry(name);
    const { Chimera } = await import("./chimera.mjs");
    const { outcome } = await import("./faults.mjs");
    return { parts: parts.length, gone: gone.reduce((sum, [, bytes]) => sum + bytes, 0), ...(await outcome(() => Chimera.load("./"))) };
  });
  found.offline = await at("plain/empty.html", async () => {
    const [{ Chimera }, { outcome }] = await Promise.all([import("./chimera.mjs"), import("./faults.mjs")]);
    const real = globalThis.fetch;
    const fetch = () => Promise.reject(new TypeError("Failed to fetch"));
    globalThis.fetch = fetch; // the network is gone, for whoever asks
    const kept = [await outcome(() => Chimera.load("./", { worker: false })), await outcome(() => Chimera.load("./", { fetch }))];
    const not = await outcome(() => Chimera.load("../busy/", { worker: false, cache: "memory", retries: 0 }));
    globalThis.fetch = real;
    return [...kept, not];
  });
  found.deleted = await at("plain/empty.html", async () => {
    const { Chimera } = await import("./chimera.mjs");
    const first = [await Chimera.delete("./"), await Chimera.delete("./")];
    for (const { url: kept } of await Chimera.cached()) await Chimera.delete(kept);
    const names = [];
    for await (const name of (await (await navigator.storage.getDirectory()).getDirectoryHandle("chimera")).keys()) names.push(name);
    return { first, names };
  });
  await at("plain/empty.html", async () => (await import("./faults.mjs")).forgetAll((await import("./chimera.mjs")).Chimera));
  const tabs = await Promise.all([context.newPage(), context.newPage()]);
  await Promise.all(tabs.map((tab) => tab.goto(`${url}slow/empty.html`)));
  found.tabs = await Promise.all(tabs.map((tab) => tab.evaluate(loads, {})));
  await Promise.all(tabs.map((tab) => tab.close()));

  // what browsers lack
  const hide = (script) => at("plain/empty.html", loads, { worker: false, retries: 0 }, script);
  found["no opfs"] = await hide(() => { delete StorageManager.prototype.getDirectory; });
  found["no storage"] = await hide(() => {
    delete StorageManager.prototype.getDirectory;
    delete globalThis.caches;
  });
  found["no WebAssembly"] = await hide(() => { delete globalThis.WebAssembly; });
  found["no SIMD"] = await hide(() => {
    WebAssembly.validate = () => false;
    WebAssembly.compile = () => Promise.reject(new WebAssembly.CompileError("invalid opcode"));
  });
  found["opfs named, and none"] = await at("plain/empty.html", loads, { worker: false, cache: "opfs" }, () => { delete StorageManager.prototype.getDirectory; });
  const full = () => { StorageManager.prototype.estimate = async () => ({ quota: 1000, usage: 900 }); };
  found["quota"] = await at("plain/empty.html", loads, { worker: false, anew: true }, full);
  found["quota named"] = await at("plain/empty.html", loads, { worker: false, anew: true, cache: "opfs" }, full);
  const breaks = () => { FileSystemWritableFileStream.prototype.write = () => Promise.reject(new DOMException("full", "QuotaExceededError")); };
  found["full"] = await at("plain/empty.html", loads, { worker: false, anew: true }, breaks);
  found["full, named"] = await at("plain/empty.html", loads, { worker: false, anew: true, cache: "opfs" }, breaks);

  // policies: a page that may import nothing inline has the loads in a script of its own
  const policy = async (path, options) => at(`${path}/policy.html`, async (given) => {
    while (!globalThis.loads) await new Promise((resolve) => { setTimeout(resolve, 10); });
    return globalThis.loads(given);
  }, options);
  found.strict = await policy("strict", own.memory);
  found["strict thread"] = await policy("strict", own.inThread);
  for (const name of ["no-eval", "no-connect"]) found[name] = await policy(name, own.inThread);
  for (const name of ["no-worker", "no-policy"]) found[name] = await policy(name, own.memory);

  // workers of another origin
  const foreign = async (options) => at("plain/empty.html", async ([origin, given]) => {
    const [{ Chimera }, { outcome }] = await Promise.all([import(`${origin}plain/chimera.mjs`), import("./faults.mjs")]);
    return outcome(() => Chimera.load(given.own ? "./" : `${origin}plain/`, { cache: "memory", workerUrl: given.workerUrl }));
  }, [other, options]);
  found["foreign"] = await foreign({});
  found["foreign with workerUrl"] = await foreign({ workerUrl: "./foreign.mjs" });
  found["foreign, bundle here"] = await foreign({ own: true });

  // a service worker, where there are no workers
  found["service worker"] = await at("plain/empty.html", async () => {
    await navigator.serviceWorker.register("./service.mjs", { type: "module" });
    const { active } = await navigator.serviceWorker.ready;
    const { port1, port2 } = new MessageChannel();
    const answer = new Promise((resolve) => { port1.onmessage = ({ data }) => resolve(data); });
    active.postMessage("load", [port2]);
    return answer;
  });
  console.log(JSON.stringify(found));
} finally {
  await close();
}
