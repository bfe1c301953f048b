// Of stopping.py: prefills of a web bundle that are aborted, in Node.js, and in the page and the worker of headless Chromium.
// usage: node stopping.mjs '{"folder", "library", "tokens", "stops", "within", "packages", "chromium"}', which stopping.py writes
import { createReadStream, mkdtempSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const settings = JSON.parse(process.argv[2]);
const TYPES = { mjs: "text/javascript", json: "application/json", wasm: "application/wasm" };

/** Abort prefills; runs in Node.js and, as text, in pages. `processor`: milliseconds that this process has used, where there is that. */
async function measure({ library, source, options, tokens, stops, within }) {
  const processor = globalThis.process ? () => { const { user, system } = process.cpuUsage(); return (user + system) / 1000; } : null;
  const { Chimera } = await import(library);
  const model = await Chimera.load(source, options);
  const found = { wall: [], slice: [] };
  let state = 1;
  const random = () => { state = (Math.imul(state, 1103515245) + 12345) >>> 0; return (state >>> 8) / 2 ** 24; };
  const prompt = Int32Array.from({ length: tokens }, () => Math.floor(256 * random()));
  await model.prefill(prompt.subarray(0, 4096));
  await model.reset();
  for (let at = 0; found.wall.length < stops;) {
    const stop = new AbortController();
    const due = performance.now() + within * random();
    const timer = setTimeout(() => stop.abort(), due - performance.now());
    let last = processor?.();
    const onProgress = ({ loaded }) => {
      done = loaded;
      if (processor) found.slice.push(-last + (last = processor()));
    };
    let done = 0;
    try {
      await model.prefill(prompt.subarray(at), { signal: stop.signal, onProgress });
      clearTimeout(timer); // it was over before
      done = tokens;
    } catch (error) {
      if (error.name !== "AbortError") throw error;
      found.wall.push(performance.now() - due);
    }
    at += done;
    if (at >= tokens) {
      await model.reset();
      at = 0;
    }
  }
  await model.dispose();
  return found;
}

const found = { Node: await measure({ ...settings, source: pathToFileURL(`${settings.folder}/`).href, options: { worker: false, threads: 1 } }) };
if (settings.chromium) {
  const { chromium } = createRequire(resolve(settings.packages, "x.js"))("playwright-core");
  const server = createServer((request, response) => {
    const path = join(settings.folder, basename(new URL(request.url, "http://localhost").pathname));
    if (!statSync(path, { throwIfNoEntry: false })?.isFile()) response.writeHead(404).end();
    else {
      response.writeHead(200, { "Content-Type": TYPES[path.split(".").pop()] ?? "application/octet-stream" });
      createReadStream(path).pipe(response);
    }
  });
  await new Promise((listening) => { server.listen(0, "127.0.0.1", listening); });
  const profile = mkdtempSync(join(tmpdir(), "stopping-"));
  const context = await chromium.launchPersistentContext(profile, { executablePath: settings.chromium, headless: true, args: ["--no-sandbox", "--disable-gpu"] });
  const source = `http://127.0.0.1:${server.address().port}/`;
  for (const [place, worker] of [["page", false], ["worker", true]]) {
    const page = await context.newPage();
    await page.goto(`${source}manifest.json`); // any page of this origin
    found[place] = await page.evaluate(measure, { ...settings, source, library: `${source}chimera.mjs`, options: { worker, threads: 1 } });
    await page.close();
  }
  await context.close();
  server.close();
}
console.log(JSON.stringify(found));
