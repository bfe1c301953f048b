// Threads in a page: how many times as fast a web bundle is with several threads as with one, in headless Chromium, isolated.
//
// usage: node page_threads.mjs NODE_MODULES CHROMIUM ROUNDS BUNDLE [threads=2] [decode=16] [prefill=64]
//
// NODE_MODULES has playwright-core (tests/browser); the bundle's model has more tokens than 100 + prefill. One page holds the model once with one thread and
// once with several, both in workers, and measures them in turns; the ratios are those of turns taken one after the other, medians. Meant for
// a machine that does nothing else: threads wait for each other at the end of each product.
import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { cpus } from "node:os";
import { join, normalize, resolve } from "node:path";

const [packages, executablePath, rounds, bundle, ...rest] = process.argv.slice(2);
const { threads = 2, decode = 16, prefill = 64 } = Object.fromEntries(rest.map((one) => one.split("=").map((part, i) => (i ? Number(part) : part))));
const { chromium } = createRequire(resolve(packages, "x.js"))("playwright-core");
const TYPES = { mjs: "text/javascript", json: "application/json", wasm: "application/wasm" };
const ISOLATION = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  const file = join(bundle, normalize(pathname));
  if (pathname === "/" || !statSync(file, { throwIfNoEntry: false })?.isFile()) {
    response.writeHead(pathname === "/" ? 200 : 404, { "Content-Type": "text/html", ...ISOLATION }).end();
    return;
  }
  response.writeHead(200, { "Content-Type": TYPES[file.split(".").pop()] ?? "application/octet-stream", "Content-Length": statSync(file).size, ...ISOLATION });
  createReadStream(file).pipe(response);
});
await new Promise((done) => { server.listen(0, "127.0.0.1", done); });

const browser = await chromium.launch({ executablePath, headless: true, args: ["--no-sandbox", "--disable-gpu"] });
const page = await browser.newPage();
await page.goto(`http://127.0.0.1:${server.address().port}/`);
const modules = await page.evaluate(async (several) => {
  const { Chimera } = await import("/chimera.mjs");
  globalThis.models = {};
  for (const threads of [1, several]) globalThis.models[threads] = await Chimera.load("/", { threads, cache: "memory" });
  return Object.values(globalThis.models).map((model) => model.variant);
}, threads);

/** Tokens per second of one thread or several. */
const measure = (count, what, tokens) => page.evaluate(async ({ count, what, tokens }) => {
  const model = globalThis.models[count];
  const numbers = Array.from({ length: tokens }, (_, i) => 100 + i);
  await model.reset();
  await model.prefill(numbers.slice(0, 1));
  const begun = performance.now();
  if (what === "prefill") await model.prefill(numbers);
  else for (const number of numbers) await model.prefill([number]);
  return (1000 * tokens) / (performance.now() - begun);
}, { count, what, tokens });

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
console.log(JSON.stringify({ processor: cpus()[0].model, cores: cpus().length, Chromium: browser.version(), bundle, threads, modules }));
for (const [what, tokens] of [["decode", decode], ["prefill", prefill]]) {
  const turns = [];
  for (let round = -1; round < Number(rounds); round += 1) { // the first one warms up
    const turn = [await measure(1, what, tokens), await measure(threads, what, tokens)];
    if (round >= 0) turns.push(turn);
  }
  const ratios = turns.map(([one, several]) => several / one);
  const speeds = [0, 1].map((place) => Number(median(turns.map((turn) => turn[place])).toFixed(1)));
  console.log(JSON.stringify({ what, one: speeds[0], several: speeds[1], ratio: Number(median(ratios).toFixed(2)), least: Number(Math.min(...ratios).toFixed(2)), most: Number(Math.max(...ratios).toFixed(2)) }));
}
await browser.close();
server.close();
