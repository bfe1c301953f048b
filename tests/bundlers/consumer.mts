// A program that uses all of the loader's types: it has to pass `tsc --strict`, and only has to.
import { ArgumentError, Chimera, ChimeraError, Model, NetworkError } from "./chimera.mjs";
import type { CachedBundle, ChatCompletion, ChatCompletionChunk, Generation, GenerationResult, LoadProgress, Message, Piece } from "./chimera.mjs";
import { compileGrammar } from "./compiler.mjs";

const told: LoadProgress[] = [];
const stop = new AbortController();

export async function use(url: URL): Promise<string> {
  await using model: Model = await Chimera.load(url, {
    onProgress: (progress) => told.push(progress),
    signal: stop.signal,
    cache: "auto",
    threads: 0,
    variant: undefined,
    fetch: globalThis.fetch,
    worker: true,
    workerUrl: new URL("./worker.mjs", url),
    retries: 2,
    stallTimeout: 1000,
  });
  const steps: Generation = model.generate("turn off the light", { maxTokens: 8, stop: ["\n"], seed: 1n, grammar: "json", ahead: 0 });
  let text = "";
  for await (const { text: some, token } of steps) if (token >= 0) text += some;
  const { finishReason, usage }: GenerationResult = await steps.result;
  if (finishReason === "stop") text += usage.totalTokens.toFixed();
  const messages: Message[] = [{ role: "user", content: "hello" }];
  for await (const { part, text: some } of model.chat(messages, { temperature: 0.5 })) if (part === "answer") text += some;
  const whole: ChatCompletion = await model.chat.completions.create({ messages, max_tokens: 8 });
  text += whole.choices[0]?.message.content ?? "";
  const chunks: AsyncIterable<ChatCompletionChunk> = await model.chat.completions.create({ messages, stream: true }, { signal: stop.signal });
  for await (const { choices } of chunks) text += choices[0]?.delta.content ?? "";
  await model.chat.completions.create({ messages, response_format: { type: "json_schema", json_schema: { name: "a", schema: { type: "null" } } } });
  const grammar: Uint8Array = await compileGrammar({ schema: { type: "string" }, whitespace: 0 });
  for await (const { text: some } of model.generate("a", { grammar })) text += some;
  for await (const { text: some } of model.generate("a", { choices: ["yes", "no"] })) text += some;
  const tokens: Int32Array = await model.tokenize(text, { begins: false });
  await model.prefill(tokens, { onProgress: ({ phase, loaded, total }) => void [phase, loaded, total] });
  const state: Uint8Array = await model.snapshot();
  await model.restore(state);
  const logits: Float32Array | null = await model.logits();
  const hashes: bigint[] = [await model.stateHash(), await model.logitsHash()];
  await model.setNames({ entities: [{ name: "lamp", area: "hall" }], areas: ["hall"] });
  await model.reset();
  const { output } = await model.call({ x: new Float32Array(3), kept: [true, false] }, { n: 1 });
  return `${text} ${logits?.length} ${hashes} ${output?.length} ${model.position} ${model.storage.kind} ${await model.selfTest()}`;
}

export async function others(bytes: ArrayBuffer): Promise<CachedBundle[]> {
  try {
    await Chimera.load({ manifest: "{}", wasm: bytes, weights: new Uint8Array(bytes) });
    await Chimera.load({ files: { "manifest.json": "./m.json", "home.b158": new URL("https://example.org/w") } });
  } catch (error) {
    if (error instanceof NetworkError || error instanceof ArgumentError) console.warn(error.advice);
    else if (error instanceof ChimeraError) console.warn(error.code, error.message);
    else throw error;
  }
  await Chimera.delete("./home/");
  return Chimera.cached();
}

// @ts-expect-error: options of other names are none
void Chimera.load("./home/", { thread: 2 });
// @ts-expect-error: models are made by Chimera.load
void new Model();
// @ts-expect-error: pieces are no texts
const wrong: string = null as unknown as Piece;
void wrong;
