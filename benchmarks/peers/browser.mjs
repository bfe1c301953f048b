// Worker: decode and prefill speed in a page of headless Chromium, of wllama and of the modules of a web bundle.
//
// Peer, in a folder of its own: npm install @wllama/wllama@3.8.1 playwright-core@1.65.1
//
// usage: node browser.mjs NODE_MODULES CHROMIUM MODEL.gguf BUNDLE MODULE.wasm…    (see worker.py)
//
// MODEL.gguf needs tokens that are ASCII: wllama gives answers as JSON, and where a random model's bytes are no UTF-8 it ends with
// "Invalid typed array length: 1163217991" (json.exception.type_error.316 in its log, without suppressNativeLog).
//
// Everything has one thread: wllama in its worker, ours on the page. The server sends no headers that would let a page
// share memory, and there is no GPU.
import { createReadStream, mkdtempSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { createRequire } from "node:module";
import { join, normalize, resolve } from "node:path";
import { createInterface } from "node:readline";

const [packages, executablePath, model, bundle, ...variants] = process.argv.slice(2);
const { chromium } = createRequire(resolve(packages, "x.js"))("playwright-core");

const peer = join(packages, "@wllama", "wllama");
const TYPES = { js: "text/javascript", mjs: "text/javascript", json: "application/json", wasm: "application/wasm" };

function fileOf(path) {
  const [, root, ...rest] = normalize(decodeURIComponent(path)).split("/");
  if (root === "peer") return join(peer, ...rest);
  if (root === "bundle") return join(bundle, ...rest);
  return root === "model.gguf" ? model : null;
}

const server = createServer((request, response) => {
  const file = fileOf(new URL(request.url, "http://localhost").pathname);
  if (!file || !statSync(file, { throwIfNoEntry: false })?.isFile()) {
    response.writeHead(request.url === "/" ? 200 : 404, { "Content-Type": "text/html" }).end();
    return;
  }
  const type = TYPES[file.split(".").pop()] ?? "application/octet-stream";
  response.writeHead(200, { "Content-Type": type, "Content-Length": statSync(file).size });
  createReadStream(file).pipe(response);
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));

const context = await chromium.launchPersistentContext(mkdtempSync(join(tmpdir(), "browser-")), {
  executablePath,
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"],
});
const page = await context.newPage();
page.on("pageerror", (error) => console.error(String(error)));
if (process.env.BENCHMARK_VERBOSE) page.on("console", (message) => console.error(message.text()));
await page.goto(`http://127.0.0.1:${server.address().port}/`);

await page.evaluate(async (variants) => {
  const silent = { debug() {}, log() {}, warn() {}, error: console.error };
  const { Wllama } = await import("/peer/esm/index.js");
  const wllama = new Wllama({ default: "/peer/esm/wasm/wllama.wasm" }, { suppressNativeLog: true, logger: silent });
  const file = await (await fetch("/model.gguf")).blob();
  await wllama.loadModel([file], { n_ctx: 512, n_batch: 128, n_ubatch: 128, n_threads: 1, n_gpu_layers: 0 });
  if (wllama.isMultithread()) throw new Error("wllama has several threads");
  let turn = 0;

  // Its own timings leave out the messages between page and worker. The first predicted token comes from the prompt.
  async function measurePeer(what, tokens) {
    turn += 1; // another beginning, so that nothing of the last prompt can be used again
    const prompt = Array.from({ length: what === "prefill" ? tokens : 1 }, (_, i) => ` w${turn * 200 + i}`).join("");
    const answer = await wllama.createCompletion({
      prompt,
      max_tokens: what === "prefill" ? 1 : tokens + 1,
      temperature: 0,
      ignore_eos: true,
    });
    const { prompt_n, prompt_ms, predicted_n, predicted_ms } = answer.timings;
    if (what === "prefill" ? prompt_n < tokens : predicted_n <= tokens) {
      throw new Error(`wllama computed ${prompt_n} and ${predicted_n} tokens`);
    }
    return what === "prefill" ? prompt_ms / prompt_n / 1000 : predicted_ms / (predicted_n - 1) / 1000;
  }

  const { Chimera } = await import("/bundle/chimera.mjs");
  const models = {};
  for (const variant of variants) {
    models[variant] = await Chimera.load("/bundle/", { variant: variant || undefined, worker: false, cache: "memory" });
    // sets the iterations of calls that follow
    for await (const piece of models[variant].generate([1], { maxTokens: 1, loops: 1 })) void piece;
  }

  async function measureOurs(variant, what, tokens) {
    const session = models[variant];
    const numbers = Array.from({ length: tokens }, (_, i) => 100 + i);
    await session.reset();
    await session.prefill(numbers.slice(0, 1));
    await session.reset();
    const begun = performance.now();
    if (what === "prefill") await session.prefill(numbers);
    else for (const number of numbers) await session.prefill([number]);
    return (performance.now() - begun) / tokens / 1000;
  }

  globalThis.measure = ({ case: name, what, tokens }) =>
    name === "wllama" ? measurePeer(what, tokens) : measureOurs(name, what, tokens);
}, variants);

const manifest = JSON.parse(readFileSync(join(bundle, "manifest.json"), "utf8"));
const weights = manifest.files.find((entry) => entry.role === "weights");
const version = JSON.parse(readFileSync(join(peer, "package.json"), "utf8")).version;
const cases = { wllama: { bytes: statSync(model).size } };
for (const variant of variants) cases[variant] = { bytes: weights.bytes };
console.log(JSON.stringify({ versions: { "@wllama/wllama": version, Chromium: context.browser()?.version() ?? "" }, cases }));

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await page.evaluate((request) => globalThis.measure(request), JSON.parse(line))));
}
await context.close();
server.close();
