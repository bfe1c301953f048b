// From a request to the whole answer of a model that is told the names of a home: a web bundle in headless Chromium, one thread.
//
// usage: node page_names.mjs NODE_MODULES CHROMIUM BUNDLE [names=50] [rounds=7]
//
// NODE_MODULES has playwright-core (tests/browser). Requests take turns without names and with them; medians and the slowest. "told" is
// what setNames takes, once a home.
import { createServer } from "node:http";
import { readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join, normalize, resolve } from "node:path";

const [packages, executablePath, bundle, ...rest] = process.argv.slice(2);
const { names = 50, rounds = 7 } = Object.fromEntries(rest.map((one) => one.split("=")));
const { chromium } = createRequire(resolve(packages, "x.js"))("playwright-core");

const ROOMS = ["kitchen", "living room", "bedroom", "bathroom", "office", "hallway", "garage", "cellar"];
const THINGS = [["lamp", "light"], ["blinds", "cover"], ["fan", "fan"], ["heater", "climate"], ["socket", "switch"], ["speaker", "media_player"], ["window", "binary_sensor"]];
const entities = Array.from({ length: Number(names) }, (_, n) => {
  const [room, [thing, domain]] = [ROOMS[n % ROOMS.length], THINGS[Math.floor(n / ROOMS.length) % THINGS.length]];
  return { name: `${room} ${thing}${n < ROOMS.length * THINGS.length ? "" : ` ${n}`}`, domain, area: room };
});
const REQUESTS = [
  "turn on the kitchen lamp", "close the blinds in the living room", "set the bedroom fan to 40 percent", "set a timer for ten minutes",
  "what is the capital of france", "turn off all the lights", "turn on the coffee machine", "set the office heater to 21 degrees",
];
const PAGE = `<!doctype html><meta charset="utf-8"><title>names</title><script type="module">
import { Chimera } from "./chimera.mjs";
const model = await Chimera.load(new URL("./", location.href), { threads: 1 });
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
async function timed(run) { const begun = performance.now(); await run(); return performance.now() - begun; }
async function ask(request) { for await (const _ of model.generate(request)); }
const home = ${JSON.stringify({ entities, areas: ROOMS })}, found = { "no names": [], "names": [] }, told = [];
for (let round = 0; round < ${Number(rounds)}; round++) {
  for (const [what, given] of [["no names", null], ["names", home]]) {
    const taken = await timed(() => model.setNames(given));
    if (given) told.push(taken);
    for (const request of ${JSON.stringify(REQUESTS)}) { const took = await timed(() => ask(request)); if (round) found[what].push(took); }
  }
}
globalThis.result = { told: median(told), ...Object.fromEntries(Object.entries(found).map(([what, all]) => [what, [median(all), Math.max(...all)]])) };
</script>`;

const TYPES = { mjs: "text/javascript", json: "application/json", wasm: "application/wasm" };
const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  if (pathname === "/names.html") return void response.writeHead(200, { "Content-Type": "text/html" }).end(PAGE);
  const path = join(bundle, normalize(pathname));
  if (!statSync(path, { throwIfNoEntry: false })?.isFile()) return void response.writeHead(404).end();
  response.writeHead(200, { "Content-Type": TYPES[path.split(".").pop()] ?? "application/octet-stream" }).end(readFileSync(path));
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const page = await browser.newPage();
  page.on("pageerror", (error) => { throw error; });
  await page.goto(`http://127.0.0.1:${server.address().port}/names.html`);
  await page.waitForFunction(() => globalThis.result, null, { timeout: 300_000 });
  const { told, ...found } = await page.evaluate(() => globalThis.result);
  console.log(`${names} names told in ${told.toFixed(0)} ms`);
  for (const [what, [median, slowest]] of Object.entries(found)) console.log(`${what.padEnd(9)}  ${median.toFixed(1).padStart(7)} ms a request, the slowest ${slowest.toFixed(0)}`);
} finally {
  await browser.close();
  server.close();
}
