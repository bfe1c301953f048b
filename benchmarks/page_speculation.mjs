// Speculation in a page: as many times as fast as without, of web bundles that page_speculation.py built, in headless Chromium.
//
// usage: node page_speculation.mjs NODE_MODULES CHROMIUM ROUNDS BUNDLE [tokens=128] [variant=FILE]
//
// NODE_MODULES has playwright-core (tests/browser). One thread, the model on the page's thread. The text is what the model says by itself, greedily;
// guesses are told to the session, each right with the given probability, as benchmarks/speculation.py does natively. "lookup" is what sessions
// do by themselves. With and without take turns; a ratio is the median of those of rounds, by processor time of the page's process, and by the clock. Each
// generation is compared with the one without: tokens and the hash of the state.
import { createReadStream, readFileSync, readdirSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join, normalize, resolve } from "node:path";

const [packages, executablePath, rounds, bundle, ...rest] = process.argv.slice(2);
const { tokens = 128, variant = "" } = Object.fromEntries(rest.map((one) => one.split("=")));
const { chromium } = createRequire(resolve(packages, "x.js"))("playwright-core");
const TYPES = { mjs: "text/javascript", json: "application/json", wasm: "application/wasm" };
const CASES = { "60 % right": 0.6, "80 % right": 0.8, "90 % right": 0.9, "all right": 1, never: 0, lookup: null };

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  const file = join(bundle, normalize(pathname));
  if (pathname === "/" || !statSync(file, { throwIfNoEntry: false })?.isFile()) {
    response.writeHead(pathname === "/" ? 200 : 404, { "Content-Type": "text/html" }).end();
    return;
  }
  response.writeHead(200, { "Content-Type": TYPES[file.split(".").pop()] ?? "application/octet-stream", "Content-Length": statSync(file).size });
  createReadStream(file).pipe(response);
});
await new Promise((done) => { server.listen(0, "127.0.0.1", done); });

const launched = await chromium.launchServer({ executablePath, headless: true, args: ["--no-sandbox", "--disable-gpu", "--js-flags=--expose-gc"] });
const browser = await chromium.connect(launched.wsEndpoint());
const page = await browser.newPage();
page.on("pageerror", (error) => console.error(String(error)));
await page.goto(`http://127.0.0.1:${server.address().port}/`);

/** Milliseconds of a processor that processes below the browser have used, the page's nearly all of it. */
function processorMs() {
  const fields = (id) => readFileSync(`/proc/${id}/stat`, "latin1").split(") ").pop().split(" ");
  const found = new Map();
  for (const id of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const row = fields(id);
      found.set(Number(id), { parent: Number(row[1]), spent: (Number(row[11]) + Number(row[12])) * 10 });
    } catch {
      // it has ended meanwhile
    }
  }
  const isOurs = (id) => id === launched.process().pid || (found.has(id) && isOurs(found.get(id).parent));
  return [...found].filter(([id]) => isOurs(id)).reduce((sum, [, { spent }]) => sum + spent, 0);
}

const about = await page.evaluate(async ({ variant, tokens }) => {
  const { instantiate } = WebAssembly;
  let [exports, session] = [null, 0];
  WebAssembly.instantiate = async (...values) => {
    const made = await instantiate(...values);
    exports = made.exports;
    const open = (given, options, place) => {
      const status = exports.chm_session_open(given, options, place);
      session = new DataView(exports.memory.buffer).getUint32(place, true);
      return status;
    };
    return { exports: { ...exports, chm_session_open: open } };
  };
  const { Chimera } = await import("/chimera.mjs");
  const model = await Chimera.load("/", { worker: false, cache: "memory", ...(variant ? { variant } : {}) });
  const prompt = Array.from({ length: 48 }, (_, i) => 100 + ((i * 7919) % (model.vocabSize - 200)));
  const run = async (speculate) => {
    const generation = model.generate(prompt, { maxTokens: tokens, temperature: 0, exitThreshold: 0, grammar: "none", speculate });
    for await (const piece of generation);
    const { tokens: made, generateMs, speculation } = await generation.result;
    return { made: Array.from(made), generateMs, speculation, state: await model.stateHash() };
  };
  const plain = await run(false);
  const text = Int32Array.from([...prompt, ...plain.made]);
  const place = exports.chm_memory_allocate(4 * text.length);
  new Int32Array(exports.memory.buffer, place, text.length).set(text);
  /** Let the session guess by itself, or guess the text, right with a probability. */
  globalThis.tell = (share) => exports.told(session, share === null ? 0 : place, text.length, share === null ? 0 : Math.round(share * 2 ** 24));
  globalThis.run = async (speculate) => {
    const found = await run(speculate);
    if (String(found.made) !== String(plain.made) || found.state !== plain.state) throw new Error("speculation changed the text");
    return found;
  };
  return { variant: model.variant, tokens: plain.made.length };
}, { variant, tokens: Number(tokens) });
console.log(JSON.stringify({ Chromium: browser.version(), bundle, ...about }));

async function turn(speculate) {
  const before = processorMs();
  const { generateMs, speculation } = await page.evaluate((on) => globalThis.run(on), speculate);
  return { processor: processorMs() - before, clock: generateMs, speculation };
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
for (const [name, share] of Object.entries(CASES)) {
  await page.evaluate((one) => globalThis.tell(one), share);
  const turns = [];
  for (let round = -1; round < Number(rounds); round += 1) { // the first one warms up, and the session learns what passes cost
    const pair = [await turn(false), await turn(true)];
    if (round >= 0) turns.push(pair);
  }
  const ratio = (what) => Number(median(turns.map(([off, on]) => off[what] / on[what])).toFixed(2));
  const { accepted, proposed, passes } = turns.at(-1)[1].speculation;
  const perToken = Number((median(turns.map(([off]) => off.clock)) / about.tokens).toFixed(2));
  console.log(JSON.stringify({ case: name, processor: ratio("processor"), clock: ratio("clock"), accepted, proposed, passes, "ms a token without": perToken }));
}
await browser.close();
await launched.close();
server.close();
