// Runs a wasm bundle in Node: `node cli.mjs BUNDLE "prompt" [--name value …]` prints text; `node cli.mjs BUNDLE
// --json-lines` answers one JSON request a line with JSON lines (docs/runtime.md has the protocol).
import { resolve } from "node:path";
import { argv, exit, stderr, stdin, stdout } from "node:process";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

import { ArgumentError, Chimera, ChimeraError } from "./chimera.mjs";

const hex = (value) => value.toString(16).padStart(16, "0");
const bytesOf = (given) => new Uint8Array(Buffer.from(given, "base64"));
/** A text as it is, or as { bytes: base64 }. */
const textOf = (given) => (typeof given?.bytes === "string" ? bytesOf(given.bytes) : given);
const base64 = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("base64");

/** The elements of an input that came as bytes. */
function elementsOf(model, entry, name, bytes) {
  const copy = bytes.slice().buffer; // aligned
  const port = model.manifest.entries?.find((one) => one.name === entry)?.inputs.find((one) => one.name === name);
  return port?.dtype.includes("float") ? new Float32Array(copy) : new Int32Array(copy);
}

/** Compiled grammars come as { pack: base64 }; the same text gives the same array, so that it is opened once. */
const compiled = new Map();
function grammarOf(given) {
  if (given === null || given === undefined) return undefined;
  if (typeof given === "string") return given;
  if (compiled.size >= 16 && !compiled.has(given.pack)) compiled.delete(compiled.keys().next().value);
  if (!compiled.has(given.pack)) compiled.set(given.pack, bytesOf(given.pack));
  return compiled.get(given.pack);
}

/** How much of a prompt was run. */
function tell({ phase, loaded, total }, send) {
  if (phase === "prompt") send({ progress: { tokens: loaded, total } });
}

function answers(model) {
  return {
    info: () => ({ vocab_size: model.vocabSize, max_loops: model.maxLoops, threads: model.threads, variant: model.variant }),
    encode: async ({ text, specials, begins }) => ({ tokens: Array.from(await model.tokenize(textOf(text), { specials, begins })) }),
    async reset() {
      await model.reset();
      return {};
    },
    async names({ home }) {
      await model.setNames(home);
      return {};
    },
    async memory({ vectors, width }) {
      await model.setMemory(bytesOf(vectors), width);
      return {};
    },
    async call({ entry, n, inputs }) {
      const given = Object.fromEntries(Object.entries(inputs).map(([name, data]) => [name, elementsOf(model, entry, name, bytesOf(data))]));
      return { results: Object.fromEntries(Object.entries(await model.call(given, { entry, n })).map(([name, array]) => [name, base64(array)])) };
    },
    async prefill({ tokens }, send, signal) {
      await model.prefill(tokens, { signal, onProgress: (progress) => tell(progress, send) });
      return {};
    },
    logits: async () => ({ logits: model.position ? base64(await model.logits()) : null }),
    state: async () => ({ state_hash: hex(await model.stateHash()), logits_hash: hex(await model.logitsHash()), position: model.position, iterations: model.iterations }),
    snapshot: async () => ({ snapshot: base64(await model.snapshot()) }),
    async restore({ snapshot }) {
      await model.restore(bytesOf(snapshot));
      return {};
    },
    self_test: async (request, send, signal) => ({ tested: await model.selfTest({ signal }) }),
    async generate({ prompt, options }, send, signal) {
      const { max_tokens, top_p, top_k, repetition_penalty, exit_threshold, ...rest } = options;
      const onProgress = (progress) => tell(progress, send);
      const translated = { ...rest, maxTokens: max_tokens, topP: top_p, topK: top_k, repetitionPenalty: repetition_penalty, exitThreshold: exit_threshold, signal, onProgress };
      if (typeof translated.seed === "string") translated.seed = BigInt(translated.seed);
      translated.grammar = grammarOf(rest.grammar);
      translated.request = textOf(rest.request) ?? undefined;
      const steps = model.generate(textOf(prompt), translated);
      for await (const { text, token } of steps) send({ piece: { text, token } });
      const { finishReason, score, refused, speculation, diagnostics } = await steps.result;
      return { finish_reason: finishReason, score, refused, speculation, diagnostics };
    },
  };
}

async function serveLines(model) {
  const write = (value) => stdout.write(`${JSON.stringify(value)}\n`);
  const table = answers(model);
  const aborts = new Map();
  const answer = async (request) => {
    const { id } = request;
    try {
      if (!Object.hasOwn(table, request.op)) throw new ArgumentError(`unknown operation ${request.op}`);
      const send = (details) => write({ id, ...details });
      write({ id, done: await table[request.op](request, send, aborts.get(id).signal) });
    } catch (error) {
      write({ id, error: { code: error instanceof ChimeraError ? error.code : "CHM440", message: error.message } });
    } finally {
      aborts.delete(id);
    }
  };
  let last = Promise.resolve(); // one request at a time; the answer to an abort comes after that of what it ends
  const receive = (line) => {
    const request = JSON.parse(line);
    if (request.op !== "abort") aborts.set(request.id, new AbortController());
    else aborts.get(request.target)?.abort();
    last = last.then(() => (request.op === "abort" ? write({ id: request.id, done: {} }) : answer(request)));
  };
  createInterface({ input: stdin }).on("line", (line) => {
    if (!line) return;
    try {
      receive(line);
    } catch (error) {
      write({ id: null, error: { code: "CHM420", message: `not a request: ${error.message}` } });
    }
  });
  stdout.on("error", () => exit(1)); // nobody reads any more
  write({ ready: true });
}

/** `--name value` pairs: names in camel case; all values are numbers but those of variant, grammar and mode. */
function parse(words) {
  const options = {};
  for (let i = 0; i < words.length; i += 2) {
    const key = words[i].replace(/^--/, "").replace(/-([a-z])/g, (_, letter) => letter.toUpperCase());
    const value = words[i + 1];
    if (value === undefined) throw new ArgumentError(`no value for ${words[i]}`);
    const isSeed = key === "seed" && /^\d+$/.test(value);
    options[key] = ["variant", "grammar", "mode"].includes(key) ? value : isSeed ? BigInt(value) : Number(value);
  }
  return options;
}

async function printText(model, prompt, options) {
  for await (const { text } of model.generate(prompt, options)) stdout.write(text);
  stdout.write("\n");
}

const [folder, prompt, ...rest] = argv.slice(2);
if (!folder || prompt === undefined) {
  stderr.write('usage: node cli.mjs BUNDLE "prompt" [--max-tokens N] [--temperature T] [--top-p P] [--seed S] [--loops L] [--mode NAME] [--grammar NAME] [--threads N] [--variant FILE]\n');
  exit(2);
}
try {
  const { threads = 0, variant, ...options } = parse(rest);
  const model = await Chimera.load(pathToFileURL(resolve(folder)), { threads, variant, worker: false });
  await (prompt === "--json-lines" ? serveLines(model) : printText(model, prompt, options));
} catch (error) {
  if (prompt === "--json-lines") stdout.write(`${JSON.stringify({ id: null, error: { code: error.code ?? "CHM440", message: error.message } })}\n`);
  else stderr.write(`error ${error.code ?? ""}: ${error.message}\n`);
  exit(1);
}
