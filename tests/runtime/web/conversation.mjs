// Conversations in Node, for test_chat.py of the sessions: module and folder are arguments.
import { readFile } from "node:fs/promises";
const [module, folder] = process.argv.slice(2);
const { Chimera } = await import(module);
const read = async (name) => new Uint8Array(await readFile(`${folder}/${name}`));
const manifest = await read("manifest.json");
const files = { manifest, wasm: await read("chimera.wasm"), weights: await read("toy.b158"), tokenizer: await read("toy_tokenizer.model") };
const model = await Chimera.load(files, { worker: false });
const options = { maxTokens: 12, temperature: 1.0, seed: 5 };
const ask = [{ role: "user", content: " hello \n" }];
async function answer(messages, more = {}) {
  const told = [];
  const pieces = [];
  for await (const piece of model.chat(messages, { ...options, ...more, onProgress: ({ phase, total }) => phase === "prompt" && told.push(total) })) pieces.push(piece);
  return { pieces, total: told.at(-1), state: (await model.stateHash()).toString(16).padStart(16, "0") };
}
const failure = async (messages, more) => { try { await answer(messages, more); } catch (error) { return error.code; } };
const first = await answer(ask);
const content = first.pieces.filter(({ part }) => part === "answer").map(({ text }) => text).join("");
const second = await answer([...ask, { role: "assistant", content }, { role: "user", content: "more" }]);
const system = await answer([{ role: "system", content: "S" }, ...ask]);
const wrong = [];
for (const messages of [null, [], [1], [{ role: "user" }], [{ role: "tool", content: "" }], [...ask, ...ask], [{ role: "user", content: "\ud800" }]]) wrong.push(await failure(messages));
wrong.push(await failure(ask, { reset: false }));
await model.reset();
const again = await answer([...ask, { role: "assistant", content }, { role: "user", content: "more" }]);
console.log(JSON.stringify({ first, second, system, wrong, again }));
