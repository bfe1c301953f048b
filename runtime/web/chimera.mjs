// Loads a chimera web bundle and generates text with it: browsers, workers and Node 20 or newer, no dependencies.
//
//   const model = await load(new URL("./bundle/", import.meta.url), { onProgress });
//   for await (const { text } of model.generate("turn off the light", { maxTokens: 64, signal })) …
//   model.dispose();
//
// The decode loop, the tokenizer and the sampler are C in the wasm module; this file moves bytes in and out.
import { sha256 } from "./sha256.mjs";

const MANIFEST_SCHEMA = 1;
const ABI_MAJOR = 1;
const FINISHED = 1;
const FILE_NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$/;
const SLICE_MS = 12; // how long generate() keeps the event loop waiting

/** Everything that can go wrong with a bundle; `code` is CHM4xx, the same as in C and Python. */
export class ChimeraError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "ChimeraError";
    this.code = code;
  }
}

// ---- manifest ----

function checkManifest(manifest) {
  const need = (condition, what) => {
    if (!condition) throw new ChimeraError("CHM410", `the manifest is not valid: ${what}`);
  };
  need(manifest !== null && typeof manifest === "object", "not an object");
  const madeBy = `the bundle was made by chimerac ${manifest.chimerac ?? "(unknown)"}; build it again`;
  if (manifest.schema !== MANIFEST_SCHEMA) {
    throw new ChimeraError("CHM411", `manifest version ${manifest.schema}, this loader reads ${MANIFEST_SCHEMA}; ${madeBy}`);
  }
  if (String(manifest.abi).split(".")[0] !== String(ABI_MAJOR)) {
    throw new ChimeraError("CHM405", `bundle version ${manifest.abi}, this loader reads ${ABI_MAJOR}.x; ${madeBy}`);
  }
  need(Array.isArray(manifest.files) && manifest.files.length <= 65536, "files");
  for (const file of manifest.files) {
    need(file && FILE_NAME.test(file.name), "a file name");
    need(Number.isSafeInteger(file.bytes) && file.bytes >= 0, `the size of ${file.name}`);
    need(/^[0-9a-f]{64}$/.test(file.sha256), `the SHA-256 of ${file.name}`);
  }
  for (const role of ["code", "weights"]) need(manifest.files.filter((file) => file.role === role).length === 1, `role ${role}`);
  if (!String(manifest.target).startsWith("wasm32")) {
    throw new ChimeraError("CHM413", `the bundle is for ${manifest.target}, not for wasm`);
  }
  return manifest;
}

const fileOf = (manifest, role) => manifest.files.find((file) => file.role === role);

function parseManifest(bytes, where) {
  refuseHtml(bytes, where);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new ChimeraError("CHM410", `${where} is not JSON`);
  }
}

function refuseHtml(bytes, where) {
  const start = new TextDecoder().decode(bytes.subarray(0, 64)).trimStart().toLowerCase();
  if (start.startsWith("<!doctype") || start.startsWith("<html")) {
    throw new ChimeraError("CHM412", `the server sent an HTML page for ${where}`);
  }
}

// ---- reading files ----

async function fetchResponse(url, signal) {
  let response;
  try {
    response = await fetch(url, { signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ChimeraError("CHM400", `cannot fetch ${url}: ${error.message}`);
  }
  if (!response.ok) throw new ChimeraError("CHM400", `cannot fetch ${url}: ${response.status} ${response.statusText}`);
  return response;
}

/** Fill `target()` (called after each wait, because memory may move) with the body, which must have its exact size. */
async function readBody(url, size, target, report, signal) {
  const response = await fetchResponse(url, signal);
  const reader = response.body.getReader();
  let loaded = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (loaded === 0) refuseHtml(value, url);
    if (loaded + value.length > size) {
      await reader.cancel();
      throw new ChimeraError("CHM412", `${url} has more than the ${size} bytes that the manifest says`);
    }
    target().set(value, loaded);
    loaded += value.length;
    report(loaded);
  }
  if (loaded !== size) throw new ChimeraError("CHM412", `${url} has ${loaded} bytes, the manifest says ${size}`);
}

async function verify(file, bytes) {
  if (bytes.length !== file.bytes) {
    throw new ChimeraError("CHM412", `${file.name} has ${bytes.length} bytes, the manifest says ${file.bytes}`);
  }
  if ((await sha256(bytes)) !== file.sha256) {
    throw new ChimeraError("CHM412", `${file.name} is damaged: its SHA-256 differs from the manifest`);
  }
}

/** A source answers `fill(file, target, report)`: put the file's bytes where target() points. */
function urlSource(base, signal) {
  return { fill: (file, target, report) => readBody(new URL(file.name, base), file.bytes, target, report, signal) };
}

function memorySource(parts) {
  return {
    async fill(file, target, report) {
      const part = parts[file.role === "code" ? "wasm" : file.role];
      if (!part) throw new ChimeraError("CHM412", `the bytes of ${file.name} (${file.role}) are missing`);
      const bytes = part instanceof ArrayBuffer ? new Uint8Array(part) : new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
      if (bytes.length !== file.bytes) {
        throw new ChimeraError("CHM412", `${file.name} has ${bytes.length} bytes, the manifest says ${file.bytes}`);
      }
      target().set(bytes);
      report(bytes.length);
    },
  };
}

// ---- the module ----

async function instantiate(bytes, name) {
  const magic = [0x00, 0x61, 0x73, 0x6d];
  if (!magic.every((byte, i) => bytes[i] === byte)) throw new ChimeraError("CHM414", `${name} is not a wasm module`);
  try {
    const { instance } = await WebAssembly.instantiate(bytes, {});
    return instance.exports;
  } catch (error) {
    throw new ChimeraError("CHM414", `${name} cannot run here: ${error.message}`);
  }
}

/** The wasm module with its memory: typed calls, strings, buffers. Pointers are unsigned. */
class Module {
  constructor(exports) {
    this.exports = exports;
  }

  bytes(pointer, size) {
    return new Uint8Array(this.exports.memory.buffer, pointer >>> 0, size);
  }

  string(pointer) {
    const memory = new Uint8Array(this.exports.memory.buffer);
    const start = pointer >>> 0;
    return new TextDecoder().decode(memory.subarray(start, memory.indexOf(0, start)));
  }

  allocate(size) {
    const pointer = this.exports.chm_memory_allocate(Math.max(1, size)) >>> 0;
    if (!pointer) throw new ChimeraError("CHM422", `no memory for ${size} bytes`);
    return pointer;
  }

  release(pointer, size) {
    this.exports.chm_memory_release(pointer, Math.max(1, size));
  }

  /** Call a function that returns a status; an error becomes an exception. */
  call(name, ...values) {
    if (this.broken) throw new ChimeraError("CHM421", "the module stopped with an error before; load the model again");
    let status;
    try {
      status = this.exports[name](...values);
    } catch (error) {
      this.broken = true;
      throw new ChimeraError("CHM421", `the module has stopped: ${error.message}`);
    }
    if (status !== 0 && status !== FINISHED) {
      throw new ChimeraError(`CHM${status}`, this.string(this.exports.chm_last_error()));
    }
    return status;
  }

  /** Call `use(pointer)` with bytes copied into memory for the time of the call. */
  withBytes(data, use) {
    const pointer = this.allocate(data.length);
    try {
      this.bytes(pointer, data.length).set(data);
      return use(pointer);
    } finally {
      this.release(pointer, data.length);
    }
  }
}

// ---- the event loop ----

const nextTask = (() => {
  if (typeof setImmediate === "function") return () => new Promise((resolve) => { setImmediate(resolve); });
  const channel = new MessageChannel(); // unlike timers, messages are not held back for 4 ms
  const waiting = [];
  channel.port1.onmessage = () => waiting.shift()();
  return () => new Promise((resolve) => { waiting.push(resolve); channel.port2.postMessage(0); });
})();

// ---- the model ----

const SCRATCH_BYTES = 16; // one 8-byte result and one 4-byte size

/** A loaded model with one session. Made by load(). */
export class Model {
  #module;
  #bundle;
  #session;
  #scratch;
  #busy = false;
  #finishReason = null;
  #tokens = [];

  constructor(module, manifest, bundle, session, scratch) {
    this.#module = module;
    this.#bundle = bundle;
    this.#session = session;
    this.#scratch = scratch;
    this.manifest = manifest;
    this.vocabSize = module.exports.chm_vocab_size();
    this.maxLoops = module.exports.chm_max_loops();
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
    return new DataView(this.#live().exports.memory.buffer, this.#scratch, size);
  }

  /** Tokens of a text, without a begin token. */
  encode(text) {
    const module = this.#live();
    const bytes = new TextEncoder().encode(text);
    return module.withBytes(bytes, (pointer) => {
      const room = 4 * Math.max(1, bytes.length);
      const tokens = module.allocate(room);
      try {
        module.call("chm_tokenizer_encode", this.#bundle, pointer, bytes.length, tokens, bytes.length, this.#scratch);
        const count = this.#view(4).getUint32(0, true);
        return new Int32Array(module.exports.memory.buffer, tokens, count).slice();
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
    return pointer ? new Float32Array(module.exports.memory.buffer, pointer, this.vocabSize).slice() : null;
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

  /** Copy of the sequence, for restore(). */
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

  /** Go back to a snapshot of the same bundle. */
  restore(snapshot) {
    const module = this.#free();
    module.withBytes(snapshot, (pointer) => module.call("chm_session_restore", this.#session, pointer, snapshot.length));
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
  async *generate(prompt, options = {}) {
    const module = this.#free();
    const { signal, reset = true } = options;
    signal?.throwIfAborted();
    const maxTokens = this.#configure(options);
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
          this.#finishReason = token >= 0 ? "stop" : "length";
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
    const size = new DataView(module.exports.memory.buffer, this.#scratch + 8, 4).getUint32(0, true);
    return new TextDecoder().decode(module.bytes(pointer, size));
  }

  /** Compute the manifest's self-test; throws ChimeraError CHM450 if anything differs. False if there is none. */
  async selfTest() {
    const expected = this.manifest.self_test;
    if (!expected) return false;
    for await (const piece of this.generate(expected.prompt, { maxTokens: expected.tokens.length })) void piece;
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
    this.#module.exports.chm_bundle_close(this.#bundle);
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

/**
 * Load a bundle from the URL of its folder (or of its manifest.json), or from bytes: { manifest, wasm, weights, tokenizer }.
 *
 * options: onProgress({ file, loaded, total }) counts the bytes of all files; signal aborts.
 */
export async function load(source, { onProgress, signal } = {}) {
  signal?.throwIfAborted();
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

  const wanted = ["code", "weights", "tokenizer"].map((role) => fileOf(manifest, role)).filter(Boolean);
  const total = wanted.reduce((sum, file) => sum + file.bytes, 0);
  let before = 0;
  const fill = async (file, target) => {
    await files.fill(file, target, (loaded) => onProgress?.({ file: file.name, loaded: before + loaded, total }));
    before += file.bytes;
    signal?.throwIfAborted();
    await verify(file, target());
  };

  const code = fileOf(manifest, "code");
  const codeBytes = new Uint8Array(code.bytes);
  await fill(code, () => codeBytes);
  const module = new Module(await instantiate(codeBytes, code.name));
  const weights = fileOf(manifest, "weights");
  const tokenizer = fileOf(manifest, "tokenizer");
  const sessionBytes = module.exports.chm_session_bytes() >>> 0;
  module.call("chm_memory_reserve", weights.bytes + (tokenizer?.bytes ?? 0) + sessionBytes + (1 << 20));
  const place = async (file) => {
    const pointer = module.allocate(file.bytes);
    await fill(file, () => module.bytes(pointer, file.bytes));
    return pointer;
  };
  const scratch = module.allocate(SCRATCH_BYTES);
  const weightsAt = await place(weights);
  const tokenizerAt = tokenizer ? await place(tokenizer) : 0;
  const skipChecksums = 1; // the SHA-256 of the whole file was just compared
  const handle = (name, ...values) => {
    module.call(name, ...values, scratch);
    return new DataView(module.exports.memory.buffer, scratch, 4).getUint32(0, true);
  };
  const bundle = handle("chm_bundle_open", weightsAt, weights.bytes, tokenizerAt, tokenizer?.bytes ?? 0, skipChecksums, 0);
  const session = handle("chm_session_open", bundle, 0);
  return new Model(module, manifest, bundle, session, scratch);
}
