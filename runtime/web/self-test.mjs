// The self-test that a bundle's manifest holds: whether a model computes what it computed when it was built.
import { SelfTestError } from "./errors.mjs";
import { drawn, hashOf } from "./tensors.mjs";

/** The likeliest tokens with all loop iterations, whatever the bundle's defaults. */
const PLAIN = { temperature: 0, topP: 1, topK: 0, repetitionPenalty: 1, loops: 0, exitThreshold: 0, grammar: "none", speculate: false, valve: false };

const hex = (value) => value.toString(16).padStart(16, "0");

function compare(same) {
  if (!same) throw new SelfTestError("the model does not compute here what it computed when it was built");
}

/** True; false if the model's manifest has no test. Throws CHM450 if anything differs. run: signal and onProgress. */
export async function selfTest(model, run) {
  if (model.manifest.call_test) return testCalls(model, model.manifest.call_test);
  const expected = model.manifest.self_test;
  if (!expected) return false;
  for await (const piece of model.generate(expected.prompt, { ...PLAIN, maxTokens: expected.tokens.length, ...run })) void piece;
  const same = String(model.result.tokens) === String(expected.tokens) && hex(model.logitsHash()) === expected.logits_hash
    && hex(model.stateHash()) === expected.state_hash;
  model.reset();
  compare(same);
  return true;
}

function testCalls(model, expected) {
  model.reset();
  const entry = model.manifest.entries.find((one) => one.name === expected.entry);
  let same = expected.calls.every(({ n, hashes }, number) => {
    const results = model.call(drawn(entry, number, n), { entry: entry.name, n });
    return entry.results.every(({ name }, index) => hex(hashOf(results[name])) === hashes[index]);
  });
  same &&= !expected.state_hash || hex(model.stateHash()) === expected.state_hash;
  model.reset();
  compare(same);
  return true;
}
