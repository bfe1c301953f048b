// A page of any browser that is not driven: loads the bundle beside it, generates, aborts, loads again, and posts what came of it.
import { Chimera } from "./chimera.mjs";

async function visit({ prompt, options, threads }) {
  const found = { agent: navigator.userAgent };
  const model = await Chimera.load(new URL("./", import.meta.url), { threads });
  Object.assign(found, { variant: model.variant, threads: model.threads, storage: model.storage });
  const generation = model.generate(prompt, options);
  for await (const piece of generation) void piece;
  const { text, tokens } = await generation.result;
  Object.assign(found, { text, tokens: [...tokens], selfTest: await model.selfTest() });
  const stop = new AbortController();
  try {
    for await (const piece of model.generate(prompt, { ...options, signal: stop.signal })) {
      void piece;
      stop.abort();
    }
    found.abort = "nothing thrown";
  } catch (error) {
    found.abort = error.name;
  }
  found.again = "";
  for await (const piece of model.generate(prompt, options)) found.again += piece.text;
  await model.dispose();
  return found;
}

let report;
try {
  const request = await (await fetch("request.json")).json();
  report = { first: await visit(request), second: await visit(request), kept: await Chimera.cached() };
  report.forgotten = await Chimera.delete(new URL("./", import.meta.url));
} catch (error) {
  report = { error: `${error.name}: ${error.message}`, agent: navigator.userAgent };
}
await fetch("report", { method: "POST", body: JSON.stringify(report) });
