// Loads a served bundle in the page itself with each of the given options and prints what each computes, as JSON.
// usage: node variants.mjs URL CHROMIUM '{"prompt": [tokens], "count": …, "runs": [{"variant": …, "threads": …}, …]}'
import { open } from "./browser.mjs";

const [url, executablePath, request] = process.argv.slice(2);
const { page, messages, close } = await open(executablePath);
try {
  await page.goto(new URL("manifest.json", url).href); // an empty page of the same origin
  const found = await page.evaluate(async ({ prompt, count, runs }) => {
    const { Chimera } = await import("./chimera.mjs");
    const results = [];
    for (const options of runs) {
      const model = await Chimera.load("./", { worker: false, ...options });
      const steps = model.generate(prompt, { maxTokens: count });
      for await (const piece of steps) void piece;
      const hex = (value) => value.toString(16).padStart(16, "0");
      results.push({
        variant: model.variant,
        threads: model.threads,
        tokens: [...(await steps.result).tokens],
        state: hex(await model.stateHash()),
        logits: hex(await model.logitsHash()),
        selfTest: await model.selfTest(),
      });
      await model.dispose();
    }
    return { isolated: crossOriginIsolated, results };
  }, JSON.parse(request));
  console.log(JSON.stringify({ ...found, messages }));
} finally {
  await close();
}
