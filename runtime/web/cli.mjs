// Runs a wasm bundle in Node: `node cli.mjs BUNDLE "prompt" [--name value …]` prints text; `node cli.mjs BUNDLE
// --json-lines` answers one JSON request a line with JSON lines (docs/runtime.md has the protocol).
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { argv, exit, stderr, stdin, stdout } from "node:process";
import { createInterface } from "node:readline";

import { ChimeraError, load } from "./chimera.mjs";

async function readBundle(folder, options) {
  const read = async (name) => {
    try {
      return await readFile(join(folder, name));
    } catch (error) {
      throw new ChimeraError(name === "manifest.json" ? "CHM410" : "CHM412", `cannot read ${join(folder, name)}: ${error.code}`);
    }
  };
  const manifest = await read("manifest.json");
  let files = [];
  try {
    files = JSON.parse(manifest.toString("utf8")).files;
  } catch {
    // load() says what is wrong with it
  }
  const parts = { manifest, variants: {} };
  for (const file of Array.isArray(files) ? files : []) {
    if (!/^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$/.test(file?.name)) continue;
    const part = { code: "wasm", weights: "weights", tokenizer: "tokenizer", grammar: "grammar" }[file.role];
    if (part) parts[part] = await read(file.name);
    if (file.role === "variant") parts.variants[file.name] = await read(file.name);
  }
  return load(parts, options);
}

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

function answers(model) {
  return {
    info: () => ({ vocab_size: model.vocabSize, max_loops: model.maxLoops, threads: model.threads, variant: model.variant }),
    encode: ({ text, specials, begins }) => ({ tokens: Array.from(model.encode(textOf(text), { specials, begins })) }),
    reset: () => (model.reset(), {}),
    names: async ({ home }) => (await model.setNames(home), {}),
    call({ entry, n, inputs }) {
      const given = Object.fromEntries(Object.entries(inputs).map(([name, data]) => [name, elementsOf(model, entry, name, bytesOf(data))]));
      return { results: Object.fromEntries(Object.entries(model.call(given, { entry, n })).map(([name, array]) => [name, base64(array)])) };
    },
    async prefill({ tokens }, send, signal) {
      await model.prefill(tokens, { signal, onProgress: (progress) => send({ progress }) });
      return {};
    },
    logits: () => ({ logits: model.position ? base64(model.logits()) : null }),
    state: () => ({ state_hash: hex(model.stateHash()), logits_hash: hex(model.logitsHash()), position: model.position, iterations: model.iterations }),
    snapshot: () => ({ snapshot: base64(model.snapshot()) }),
    restore: ({ snapshot }) => (model.restore(bytesOf(snapshot)), {}),
    self_test: async (request, send, signal) => ({ tested: await model.selfTest({ signal }) }),
    async generate({ prompt, options }, send, signal) {
      const { max_tokens, top_p, top_k, repetition_penalty, exit_threshold, ...rest } = options;
      const onProgress = (progress) => send({ progress });
      const translated = { ...rest, maxTokens: max_tokens, topP: top_p, topK: top_k, repetitionPenalty: repetition_penalty, exitThreshold: exit_threshold, signal, onProgress };
      if (typeof translated.seed === "string") translated.seed = BigInt(translated.seed);
      translated.grammar = grammarOf(rest.grammar);
      translated.request = textOf(rest.request) ?? undefined;
      for await (const { text, token } of model.generate(textOf(prompt), translated)) send({ piece: { text, token } });
      return { finish_reason: model.finishReason };
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
      if (!Object.hasOwn(table, request.op)) throw new ChimeraError("CHM420", `unknown operation ${request.op}`);
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
    if (value === undefined) throw new ChimeraError("CHM420", `no value for ${words[i]}`);
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
  const model = await readBundle(folder, { threads, variant });
  await (prompt === "--json-lines" ? serveLines(model) : printText(model, prompt, options));
} catch (error) {
  if (prompt === "--json-lines") stdout.write(`${JSON.stringify({ id: null, error: { code: error.code ?? "CHM440", message: error.message } })}\n`);
  else stderr.write(`error ${error.code ?? ""}: ${error.message}\n`);
  exit(1);
}
