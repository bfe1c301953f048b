// From the opening of a page to the first token of an answer, the model kept from before: web bundles in turns, each time in a new tab of
// headless Chromium.
//
// usage: node page_start.mjs NODE_MODULES CHROMIUM ROUNDS PROMPT [threads=N] [latency=MS] [wllama=FILE.gguf] BUNDLE…
//
// NODE_MODULES has playwright-core (tests/browser), and @wllama/wllama where that is to take turns, with a cache of its own. The first visit of each bundle, which fills the caches, is shown alone. "wall" is
// by the page's clock since its navigation began, "processor" what all processes of the browser used meanwhile, "memory" what the page's
// own process holds then (PSS); medians. Each round visits a
// page with nothing but a worker that answers, too ("floor", of the first bundle's server): what a tab and a worker take by themselves. "there" is
// the same from the call of Chimera.load() on a page that has been open for half a second with the loader imported, as of somebody who asks after
// the page came up; its floor is a worker's start.
import { createReadStream, readFileSync, readdirSync, mkdtempSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, join, normalize, resolve } from "node:path";

const [packages, executablePath, rounds, prompt, ...rest] = process.argv.slice(2);
const settings = Object.fromEntries(rest.filter((one) => one.includes("=")).map((one) => one.split("=")));
const bundles = rest.filter((one) => !one.includes("="));
const { chromium } = createRequire(resolve(packages, "x.js"))("playwright-core");

const TICK_MS = 10; // of /proc's clocks
const TYPES = { js: "text/javascript", mjs: "text/javascript", json: "application/json", wasm: "application/wasm", html: "text/html", css: "text/css" };
const PAGE = `<!doctype html><meta charset="utf-8"><title>start</title><script type="module">
import { Chimera } from "./chimera.mjs";
const { prompt, threads } = ${JSON.stringify({ prompt, threads: Number(settings.threads ?? 1) })};
const begun = await WAITED;
const scripts = performance.now();
const model = await Chimera.load(new URL("./", location.href), { threads });
const loaded = performance.now() - begun;
let first = 0;
for await (const { text } of model.generate(prompt)) { first ||= performance.now() - begun; globalThis.answer = (globalThis.answer ?? "") + text; if (${Boolean(settings.wllama)}) break; }
globalThis.times = { scripts, loaded, first, ...model.storage };
</script>`;

const FLOOR = `<!doctype html><meta charset="utf-8"><title>floor</title><script type="module">
const begun = await WAITED;
const worker = new Worker("./floor.mjs", { type: "module" });
worker.onmessage = () => { globalThis.times = { first: performance.now() - begun, loaded: 0, scripts: 0 }; };
</script>`;
const PEER_PAGE = `<!doctype html><meta charset="utf-8"><title>start</title><script type="module">
import { Wllama } from "./index.js";
const begun = await WAITED;
const scripts = performance.now();
const silent = { debug() {}, log() {}, warn() {}, error: console.error };
const wllama = new Wllama({ default: "./wasm/wllama.wasm" }, { suppressNativeLog: true, logger: silent });
await wllama.loadModelFromUrl(location.origin + "/model.gguf", { useCache: true, n_ctx: 512, n_threads: ${Number(settings.threads ?? 1)}, n_gpu_layers: 0 });
const loaded = performance.now() - begun;
await wllama.createCompletion({ prompt: ${JSON.stringify(prompt)}, max_tokens: 1, temperature: 0, ignore_eos: true });
globalThis.times = { scripts, loaded, first: performance.now() - begun };
</script>`;
/** What a page begins to count at: its opening, or half a second later. */
const WAITED = { opening: "0", there: "new Promise((resolve) => { setTimeout(() => resolve(performance.now()), 500); })" };
const WRITTEN = { "floor.mjs": "postMessage(0);" };
for (const [from, waited] of Object.entries(WAITED)) WRITTEN[`floor-${from}.html`] = FLOOR.replace("WAITED", waited);

/** Headers, place and size of a file, compressed where the build of a bundle left such a one. */
function fileOf(folder, name) {
  const path = name === "/model.gguf" ? settings.wllama : join(folder, normalize(name));
  if (!statSync(path, { throwIfNoEntry: false })?.isFile()) return null;
  const packed = statSync(`${path}.gz`, { throwIfNoEntry: false });
  const headers = { "Content-Type": TYPES[path.split(".").pop()] ?? "application/octet-stream", ETag: `"${statSync(path).mtimeMs}"`, ...(packed ? { "Content-Encoding": "gzip" } : {}) };
  const place = packed ? `${path}.gz` : path;
  return { headers, place, size: statSync(place).size };
}

function answer(request, response, folder, page) {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  const isolation = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
  const [, from] = /\/start-(\w+)\.html$/.exec(pathname) ?? [];
  const written = from ? page.replace("WAITED", WAITED[from]) : WRITTEN[basename(pathname)];
  if (written) {
    response.writeHead(200, { "Content-Type": TYPES[pathname.split(".").pop()], ...isolation }).end(written);
    return;
  }
  const found = fileOf(folder, pathname);
  if (!found) {
    response.writeHead(404).end();
    return;
  }
  const kept = searchParams.has("v") ? "max-age=31536000, immutable" : "no-cache";
  const headers = { ...found.headers, ...isolation, "Cache-Control": kept };
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
  if (request.headers["if-none-match"] === headers.ETag) response.writeHead(304, headers).end();
  else {
    const part = range && !headers["Content-Encoding"];
    const [start, end] = part ? [Number(range[1]), Number(range[2])] : [0, found.size - 1];
    response.writeHead(part ? 206 : 200, { ...headers, "Content-Length": end - start + 1, ...(part ? { "Content-Range": `bytes ${start}-${end}/${found.size}` } : {}) });
    createReadStream(found.place, { start, end }).pipe(response);
  }
}

/** A server for each bundle, so that each has an origin, and caches, of its own. */
async function served({ folder, page }) {
  let requests = 0;
  const server = createServer((request, response) => {
    requests += 1;
    setTimeout(() => answer(request, response, folder, page), Number(settings.latency ?? 0));
  });
  await new Promise((done) => { server.listen(0, "127.0.0.1", done); });
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close(), take: () => { const count = requests; requests = 0; return count; } };
}

/** Processor time in milliseconds of each process of a browser by its number: of the first one, which has the profile, and those below it. */
function processorMs(profile) {
  const found = new Map();
  for (const id of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const fields = readFileSync(`/proc/${id}/stat`, "latin1").split(") ").pop().split(" ");
      const isFirst = readFileSync(`/proc/${id}/cmdline`, "latin1").includes(`--user-data-dir=${profile}`);
      found.set(id, { parent: fields[1], isFirst, spent: (Number(fields[11]) + Number(fields[12])) * TICK_MS });
    } catch {
      // it has ended meanwhile
    }
  }
  const isOurs = (id) => found.has(id) && (found.get(id).isFirst || isOurs(found.get(id).parent));
  return new Map([...found.keys()].filter(isOurs).map((id) => [id, found.get(id).spent]));
}

/** Megabytes that processes hold, each page of memory shared by some counted in parts. */
function memoryOf(ids) {
  const held = ids.map((id) => Number(/^Pss: +(\d+) kB/m.exec(readFileSync(`/proc/${id}/smaps_rollup`, "latin1"))?.[1] ?? 0));
  return Math.round(held.reduce((sum, one) => sum + one, 0) / 1000);
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

const profile = mkdtempSync(join(tmpdir(), "start-"));
const context = await chromium.launchPersistentContext(profile, { executablePath, headless: true, args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"] });

async function visit(server, name = "start-opening.html") {
  server.take();
  const before = processorMs(profile);
  const page = await context.newPage();
  const failed = new Promise((_, reject) => { page.on("pageerror", reject); });
  await page.goto(server.url + name, { waitUntil: "commit" });
  await Promise.race([page.waitForFunction(() => globalThis.times, null, { polling: 200, timeout: 120_000 }), failed]);
  const [times, text] = await page.evaluate(() => [globalThis.times, globalThis.answer]);
  const now = processorMs(profile);
  const memory = memoryOf([...now.keys()].filter((id) => !before.has(id)));
  const processor = [...now].reduce((sum, [id, spent]) => sum + spent - (before.get(id) ?? 0), 0);
  await page.close();
  return { ...times, text, processor, memory, requests: server.take() };
}

const peer = settings.wllama ? [{ name: "wllama", folder: join(packages, "@wllama", "wllama", "esm"), page: PEER_PAGE }] : [];
const systems = [...bundles.map((folder) => ({ name: folder, folder, page: PAGE })), ...peer];
const servers = await Promise.all(systems.map(served));
const firsts = [];
for (const server of servers) firsts.push(await visit(server));
for (const server of servers) await visit(server); // code caches are written at the second visit
const [found, there] = [systems.map(() => []), systems.map(() => [])];
const floors = { opening: [], there: [] };
for (let round = 0; round < Number(rounds); round += 1) {
  for (const [from, runs] of Object.entries(floors)) runs.push(await visit(servers[0], `floor-${from}.html`));
  for (const [place, server] of servers.entries()) {
    found[place].push(await visit(server));
    there[place].push(await visit(server, "start-there.html"));
  }
}
const medianOf = (runs, what) => Number(median(runs.map((run) => run[what])).toFixed(1));
console.log(JSON.stringify({ floor: { wall: medianOf(floors.opening, "first"), processor: medianOf(floors.opening, "processor"), there: medianOf(floors.there, "first") } }));
for (const [place, { name }] of systems.entries()) {
  const runs = found[place];
  const of = (what) => medianOf(runs, what);
  const later = { wall: medianOf(there[place], "first"), loaded: medianOf(there[place], "loaded") };
  const { first, downloaded } = firsts[place];
  const { text, requests, kind, cached } = runs.at(-1);
  console.log(JSON.stringify({ name, wall: of("first"), loaded: of("loaded"), scripts: of("scripts"), there: later, processor: of("processor"), memory: of("memory"), requests, kind, cached, text, firstVisit: { wall: first, downloaded } }));
  if (place) {
    const ratio = (what) => median(runs.map((run, round) => run[what] / found[0][round][what])).toFixed(2);
    console.log(`this one to the first: wall ${ratio("first")}, processor ${ratio("processor")}, memory ${ratio("memory")}`);
  }
}
await context.close();
for (const server of servers) server.close();
