// Loads a chimera web bundle and generates text with it: browsers, workers and Node 20 or newer, no dependencies.
//
//   const model = await load(new URL("./bundle/", import.meta.url), { onProgress });
//   for await (const { text } of model.generate("turn off the light", { maxTokens: 64, signal })) …
//   model.dispose();
//
// The decode loop, the tokenizer and the sampler are C in the wasm module; this file moves bytes in and out.
import { ChimeraError } from "./errors.mjs";
import { checkManifest, fetchResponse, fileOf, memorySource, parseManifest, urlSource, verify } from "./files.mjs";
import { Grammars } from "./grammars.mjs";
import { FINISHED, openModule } from "./module.mjs";
import { defaultThreads, runnable } from "./variants.mjs";

const SLICE_MS = 12; // how long generate() keeps the event loop waiting
const MAX_THREADS = 64;

export { ChimeraError };

// ---- the event loop ----

const nextTask = (() => {
  if (typeof setImmediate === "function") return () => new Promise((resolve) => { setImmediate(resolve); });
  const channel = new MessageChannel(); // unlike timers, messages are not held back for 4 ms
  const waiting = [];
  channel.port1.onmessage = () => waiting.shift()();
  return () => new Promise((resolve) => { waiting.push(resolve); channel.port2.postMessage(0); });
})();

// ---- the model ----

/** Options of a self-test: the likeliest tokens with all loop iterations, whatever the bundle's defaults. */
const PLAIN = { temperature: 0, topP: 1, topK: 0, repetitionPenalty: 1, loops: 0, exitThreshold: 0, grammar: "none" };
const SCRATCH_BYTES = 16; // one 8-byte result and one 4-byte size

/** A loaded model with one session. Made by load(). */
export class Model {
  #module;
  #bundle;
  #session;
  #scratch;
  #grammars;
  #busy = false;
  #finishReason = null;
  #tokens = [];

  constructor(module, manifest, bundle, session, scratch, variant, grammars) {
    this.#grammars = new Grammars(module, bundle, scratch, grammars);
    this.#module = module;
    this.#bundle = bundle;
    this.#session = session;
    this.#scratch = scratch;
    this.manifest = manifest;
    this.vocabSize = module.exports.chm_vocab_size();
    this.maxLoops = module.exports.chm_max_loops();
    this.variant = variant;
    this.threads = module.threads;
  }

  #live() {
    if (!this.#module) throw new ChimeraError("CHM421", "the model was disposed");
    return this.#module;
  }

  #free() {
    if (this.#busy) throw new ChimeraError("CHM421", "a generation is running; end or abort it first");
    return this.#live();
  }

  #view(size) {
    return new DataView(this.#live().memory.buffer, this.#scratch, size);
  }

  /**
   * Tokens of a text (or of UTF-8 bytes), without a begin token. With `specials` the names of special tokens in it become
   * these tokens: only for text of your own, because a stranger's could end turns and speak as the system.
   */
  encode(text, { specials = false } = {}) {
    const module = this.#live();
    const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
    return module.withBytes(bytes, (pointer) => {
      const room = 4 * Math.max(1, bytes.length);
      const tokens = module.allocate(room);
      try {
        const name = specials ? "chm_tokenizer_encode_with_specials" : "chm_tokenizer_encode";
        module.call(name, this.#bundle, pointer, bytes.length, tokens, bytes.length, this.#scratch);
        const count = this.#view(4).getUint32(0, true);
        return new Int32Array(module.memory.buffer, tokens, count).slice();
      } finally {
        module.release(tokens, room);
      }
    });
  }

  /** Run tokens through the model. */
  prefill(tokens) {
    const module = this.#free();
    const values = checkTokens(tokens, this.vocabSize);
    module.withBytes(new Uint8Array(values.buffer), (pointer) => {
      module.call("chm_session_prefill", this.#session, pointer, values.length);
    });
  }

  /** Back to the start of a sequence. */
  reset() {
    this.#free().call("chm_session_reset", this.#session);
  }

  get position() {
    return this.#live().exports.chm_session_position(this.#session);
  }

  /** Loop iterations of the last call. */
  get iterations() {
    return this.#live().exports.chm_session_iterations(this.#session);
  }

  /** "stop", "length" or null while, and before, a generation runs or when it was left early. */
  get finishReason() {
    return this.#finishReason;
  }

  /** Tokens of the last generation. */
  get tokens() {
    return Int32Array.from(this.#tokens);
  }

  /** Copy of the logits of the last token that was run; null before the first. */
  logits() {
    const module = this.#live();
    const pointer = module.exports.chm_session_logits(this.#session) >>> 0;
    return pointer ? new Float32Array(module.memory.buffer, pointer, this.vocabSize).slice() : null;
  }

  /** 64-bit hash of the recurrent state. */
  stateHash() {
    this.#live().call("chm_session_state_hash", this.#session, this.#scratch);
    return this.#view(8).getBigUint64(0, true);
  }

  /** 64-bit hash of the logits. */
  logitsHash() {
    this.#live().call("chm_session_logits_hash", this.#session, this.#scratch);
    return this.#view(8).getBigUint64(0, true);
  }

  /** The sequence as the bytes of a file of kind "state", for restore() here or in any other runtime of the model. */
  snapshot() {
    const module = this.#free();
    const size = module.exports.chm_session_snapshot_bytes(this.#session);
    const pointer = module.allocate(size);
    try {
      module.call("chm_session_snapshot", this.#session, pointer, size);
      return module.bytes(pointer, size).slice();
    } finally {
      module.release(pointer, size);
    }
  }

  /** Go back to a snapshot of the same model; where it is refused, nothing changes. */
  restore(snapshot) {
    const module = this.#free();
    module.withBytes(snapshot, (pointer) => module.call("chm_session_restore", this.#session, pointer, snapshot.length));
  }

  /** What a generation takes: what the caller gives, else the mode it names, else the bundle's defaults. */
  #withDefaults({ mode, ...given }) {
    const { temperature, top_p, repetition_penalty, max_tokens, exit_threshold, modes = {} } = this.manifest.generation ?? {};
    const own = { temperature, topP: top_p, repetitionPenalty: repetition_penalty, maxTokens: max_tokens, exitThreshold: exit_threshold };
    if (mode !== undefined && mode !== null) {
      if (!Object.hasOwn(modes, mode)) {
        const names = Object.keys(modes).join(", ");
        throw new ChimeraError("CHM420", `there is no mode ${mode}; ${names ? `the bundle has ${names}` : "the bundle has none"}`);
      }
      own.loops = modes[mode].loops;
    }
    for (const [name, value] of Object.entries(given)) if (value !== undefined) own[name] = value;
    return own;
  }

  #configure(options) {
    const module = this.#live();
    const seed = BigInt.asUintN(64, BigInt(options.seed ?? 0));
    const whole = (value, name, high = 0x7fffffff) => {
      if (!Number.isInteger(value) || value < -0x80000000 || value > high) throw new ChimeraError("CHM420", `${name} is not a whole number in range`);
      return value;
    };
    const number = (value, name) => {
      if (typeof value !== "number" || !Number.isFinite(value)) throw new ChimeraError("CHM420", `${name} is not a number`);
      return value;
    };
    module.call("chm_session_set_loops", this.#session, whole(options.loops ?? 0, "loops"));
    module.call("chm_session_set_exit_threshold", this.#session, number(options.exitThreshold ?? 0, "exitThreshold"));
    module.call(
      "chm_session_set_sampling",
      this.#session,
      number(options.temperature ?? 0, "temperature"),
      number(options.topP ?? 1, "topP"),
      whole(options.topK ?? 0, "topK"),
      number(options.repetitionPenalty ?? 1, "repetitionPenalty"),
      Number(seed & 0xffffffffn),
      Number(seed >> 32n),
      whole(options.stream ?? 0, "stream", 0xffffffff),
    );
    return whole(options.maxTokens ?? 256, "maxTokens");
  }

  /**
   * Run a prompt (text or token ids) and generate; yields { text, token }, and ends with finishReason set. token is -1
   * for text that was left over at the end. Aborting `options.signal` throws its reason; the model can be used again.
   */
  async *generate(prompt, given = {}) {
    const module = this.#free();
    const options = this.#withDefaults(given);
    const { signal, reset = true } = options;
    signal?.throwIfAborted();
    const maxTokens = this.#configure(options);
    const grammar = this.#grammars.choose(options.grammar);
    const closing = module.exports.chm_grammar_closing(grammar); // 0 without one
    if (closing > maxTokens) {
      throw new ChimeraError("CHM420", `maxTokens is ${maxTokens}; the grammar's shortest text may need ${closing}`);
    }
    module.call("chm_session_set_grammar", this.#session, grammar);
    this.#finishReason = null;
    this.#tokens = [];
    if (reset) this.reset();
    this.#busy = true;
    try {
      if (typeof prompt === "string") {
        const bytes = new TextEncoder().encode(prompt);
        module.withBytes(bytes, (pointer) => module.call("chm_session_prompt", this.#session, pointer, bytes.length));
      } else {
        const values = checkTokens(prompt, this.vocabSize);
        module.withBytes(new Uint8Array(values.buffer), (pointer) => {
          module.call("chm_session_prefill", this.#session, pointer, values.length);
        });
      }
      module.call("chm_session_begin_generation", this.#session, maxTokens);
      let sliceEnd = performance.now() + SLICE_MS;
      for (;;) {
        signal?.throwIfAborted();
        this.#live();
        const status = module.call("chm_session_generate", this.#session, this.#scratch);
        const token = this.#view(4).getInt32(0, true);
        if (token >= 0) this.#tokens.push(token);
        const text = this.#text();
        if (status === FINISHED) {
          const ended = token >= 0 || this.#tokens.length < maxTokens; // the latter: the grammar allows no more
          this.#finishReason = ended ? "stop" : "length";
          if (text || token >= 0) yield { text, token };
          return;
        }
        yield { text, token };
        if (performance.now() >= sliceEnd) {
          await nextTask();
          sliceEnd = performance.now() + SLICE_MS;
        }
      }
    } finally {
      this.#busy = false;
    }
  }

  #text() {
    const module = this.#live();
    const pointer = module.exports.chm_session_text(this.#session, this.#scratch + 8);
    return module.text(pointer, module.number(this.#scratch + 8));
  }

  /** Compute the manifest's self-test; throws ChimeraError CHM450 if anything differs. False if there is none. */
  async selfTest() {
    const expected = this.manifest.self_test;
    if (!expected) return false;
    for await (const piece of this.generate(expected.prompt, { ...PLAIN, maxTokens: expected.tokens.length })) void piece;
    const hex = (value) => value.toString(16).padStart(16, "0");
    const same = String(this.tokens) === String(expected.tokens) && hex(this.logitsHash()) === expected.logits_hash
      && hex(this.stateHash()) === expected.state_hash;
    this.reset();
    if (!same) throw new ChimeraError("CHM450", "the model does not compute here what it computed when it was built");
    return true;
  }

  /** Give the memory back (all of it when the last reference to the model is gone). */
  dispose() {
    if (!this.#module) return;
    this.#module.exports.chm_session_close(this.#session);
    this.#grammars.close();
    this.#module.exports.chm_bundle_close(this.#bundle);
    this.#module.stop();
    this.#module = null;
  }
}

function checkTokens(tokens, vocabSize) {
  for (const token of tokens) {
    if (!Number.isInteger(token) || token < 0 || token >= vocabSize) {
      throw new ChimeraError("CHM420", `token ${token} is not in the vocabulary of ${vocabSize}`);
    }
  }
  return Int32Array.from(tokens);
}

/** The modules of a bundle to try, in this order. */
function candidates(manifest, files, threads, variant) {
  const code = fileOf(manifest, "code");
  const all = manifest.files.filter((file) => file === code || (file.role === "variant" && files.has(file)));
  if (variant !== undefined) {
    const chosen = all.find((file) => file.name === variant);
    if (!chosen) throw new ChimeraError("CHM420", `the bundle has no module ${variant}; it has ${all.map((file) => file.name).join(", ")}`);
    return [chosen];
  }
  const found = runnable(all, { threads });
  return found.length ? found : [code]; // which then says why it does not run
}

/** The result of the first file that `open` succeeds with; a module for threads may find no memory or workers. */
async function firstThatRuns(choices, open) {
  for (const file of choices) {
    try {
      return [await open(file), file];
    } catch (error) {
      if (error instanceof ChimeraError || error.name === "AbortError" || file === choices.at(-1)) throw error;
    }
  }
  return null;
}

/**
 * Load a bundle from the URL of its folder (or of its manifest.json), or from bytes: { manifest, wasm, weights, tokenizer, grammar,
 * variants: { name: bytes } }.
 *
 * options: onProgress({ file, loaded, total }) counts the bytes of all files; signal aborts; threads that share the work
 * (default 1; 0: as many as make sense), where memory can be shared; variant: file name of the module to use.
 */
export async function load(source, { onProgress, signal, threads: wanted = 1, variant } = {}) {
  signal?.throwIfAborted();
  if (!Number.isInteger(wanted) || wanted < 0 || wanted > MAX_THREADS) {
    throw new ChimeraError("CHM420", `${wanted} threads; 1 to ${MAX_THREADS} are possible, or 0 for the default`);
  }
  const threads = wanted || defaultThreads();
  let manifest;
  let files;
  if (typeof source === "string" || source instanceof URL) {
    const given = new URL(source, globalThis.location?.href);
    const isManifest = given.pathname.endsWith(".json");
    const base = isManifest || given.pathname.endsWith("/") ? given : new URL(`${given.pathname}/`, given);
    const url = isManifest ? given : new URL("manifest.json", base);
    manifest = parseManifest(new Uint8Array(await (await fetchResponse(url, signal)).arrayBuffer()), url);
    files = urlSource(base, signal);
  } else {
    const given = source.manifest;
    const isBytes = given instanceof ArrayBuffer || ArrayBuffer.isView(given);
    manifest = isBytes ? parseManifest(new Uint8Array(given.buffer ?? given, given.byteOffset ?? 0, given.byteLength), "the manifest") : given;
    if (typeof manifest === "string") manifest = parseManifest(new TextEncoder().encode(manifest), "the manifest");
    files = memorySource(source);
  }
  checkManifest(manifest);

  const weights = fileOf(manifest, "weights");
  const tokenizer = fileOf(manifest, "tokenizer");
  const grammar = [fileOf(manifest, "grammar")].find((file) => file && files.has(file));
  const dataBytes = weights.bytes + (tokenizer?.bytes ?? 0) + (grammar?.bytes ?? 0);
  let before = 0;
  let codeBytes = 0;
  const fill = async (file, target) => {
    await files.fill(file, target, (loaded) => onProgress?.({ file: file.name, loaded: before + loaded, total: codeBytes + dataBytes }));
    before += file.bytes;
    signal?.throwIfAborted();
    await verify(file, target());
  };

  const [module, code] = await firstThatRuns(candidates(manifest, files, threads, variant), async (file) => {
    const bytes = new Uint8Array(file.bytes);
    codeBytes += file.bytes;
    await fill(file, () => bytes);
    const { state_bytes: state = 0, arena_bytes: arena = 0 } = manifest.memory ?? {};
    return openModule(bytes, file.name, { threads, memory: dataBytes + 3 * state + arena });
  });
  const sessionBytes = module.exports.chm_session_bytes() >>> 0;
  module.call("chm_memory_reserve", dataBytes + sessionBytes + (1 << 20));
  const place = async (file) => {
    const pointer = module.allocate(file.bytes);
    await fill(file, () => module.bytes(pointer, file.bytes));
    return pointer;
  };
  const scratch = module.allocate(SCRATCH_BYTES);
  const weightsAt = await place(weights);
  const tokenizerAt = tokenizer ? await place(tokenizer) : 0;
  const grammars = grammar ? { pointer: await place(grammar), bytes: grammar.bytes } : null;
  const skipChecksums = 1; // the SHA-256 of the whole file was just compared
  const handle = (name, ...values) => {
    module.call(name, ...values, scratch);
    return module.number(scratch);
  };
  const bundle = handle("chm_bundle_open", weightsAt, weights.bytes, tokenizerAt, tokenizer?.bytes ?? 0, skipChecksums, 0);
  const session = handle("chm_session_open", bundle, 0);
  module.share(bundle);
  return new Model(module, manifest, bundle, session, scratch, code.name, grammars);
}
