// Loads, uses and disposes of a model again and again in a page; prints by how many bytes Chromium has grown as JSON, in workers and in the page's
// thread. usage: node cycles.mjs CHROMIUM URL ROUNDS
import { readFileSync, readdirSync } from "node:fs";
import { open } from "./browser.mjs";

const PAGE_BYTES = 4096;
const [executablePath, url, rounds] = process.argv.slice(2);

/** Memory of all processes that this one has begun, theirs too. */
function resident() {
  const parents = new Map();
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      parents.set(pid, readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1).split(" ")[1]);
    } catch {} // it has ended
  }
  const ours = (pid) => pid === String(process.pid) || (parents.has(pid) && ours(parents.get(pid)));
  let pages = 0;
  for (const pid of parents.keys()) {
    if (pid === String(process.pid) || !ours(pid)) continue;
    try {
      pages += Number(readFileSync(`/proc/${pid}/statm`, "latin1").split(" ")[1]);
    } catch {}
  }
  return pages * PAGE_BYTES;
}

const { page, close } = await open(executablePath);
try {
  await page.goto(`${url}empty.html`);
  const client = await page.context().newCDPSession(page);
  const run = (worker, count) => page.evaluate(async ([worker, count]) => {
    const { Chimera } = await import("./chimera.mjs");
    for (let i = 0; i < count; i += 1) {
      const model = await Chimera.load(new URL("./", location.href), { worker });
      for await (const piece of model.generate("hello", { maxTokens: 4 })) void piece;
      await model.dispose();
    }
  }, [worker, count]);
  const settled = async () => {
    for (let i = 0; i < 3; i += 1) await client.send("HeapProfiler.collectGarbage");
    await new Promise((resolve) => { setTimeout(resolve, 1000); });
    return resident();
  };
  const grown = [];
  for (const worker of [true, false]) {
    await run(worker, 10);
    const before = await settled();
    await run(worker, Number(rounds));
    grown.push((await settled()) - before);
  }
  console.log(JSON.stringify(grown));
} finally {
  await close();
}
