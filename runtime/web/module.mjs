// The wasm module of a bundle: the best of its variants that runs here, with its memory and its threads.
import { ContentSecurityError, errorOf } from "./errors.mjs";
import { startThreads } from "./threads.mjs";
import { FEATURES, featuresOf, missing } from "./variants.mjs";

const PAGE = 65536;
const FIRST_PAGES = 64; // what a module with shared memory is linked for
const SPARE_BYTES = 64 << 20; // for prompts and snapshots
const STACK_BYTES = 1 << 20;
const MAGIC = [0x00, 0x61, 0x73, 0x6d];
export const FINISHED = 1;

/** The wasm module with its memory: typed calls, strings, buffers. Pointers are unsigned. */
class Module {
  #workers = null;

  constructor(exports, memory, threads, workers) {
    this.exports = exports;
    this.memory = memory;
    this.threads = threads;
    this.#workers = workers;
  }

  bytes(pointer, size) {
    return new Uint8Array(this.memory.buffer, pointer >>> 0, size);
  }

  /** Text of memory, copied first because shared memory cannot be decoded. */
  text(pointer, size) {
    return new TextDecoder().decode(this.bytes(pointer, size).slice());
  }

  string(pointer) {
    const start = pointer >>> 0;
    return this.text(start, new Uint8Array(this.memory.buffer).indexOf(0, start) - start);
  }

  number(pointer) {
    return new DataView(this.memory.buffer, pointer, 4).getUint32(0, true);
  }

  allocate(size) {
    const pointer = this.exports.chm_memory_allocate(Math.max(1, size)) >>> 0;
    if (!pointer) throw errorOf("CHM422", `no memory for ${size} bytes`);
    return pointer;
  }

  release(pointer, size) {
    this.exports.chm_memory_release(pointer, Math.max(1, size));
  }

  /** Call a function that returns a status; an error becomes an exception. */
  call(name, ...values) {
    if (this.broken) throw errorOf("CHM421", "the module stopped with an error before; load the model again");
    let status;
    try {
      status = this.exports[name](...values);
    } catch (error) {
      this.broken = true;
      throw errorOf("CHM421", `the module has stopped: ${error.message}`);
    }
    if (status !== 0 && status !== FINISHED) {
      throw errorOf(`CHM${status}`, this.string(this.exports.chm_last_error()));
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
  /** Let the workers take part in the work of a bundle, and end it when the model is disposed. */
  share(bundle) {
    if (!this.#workers) return;
    this.call("chm_bundle_set_threads", bundle, this.threads);
    this.#workers.join(bundle);
  }

  stop() {
    this.#workers?.stop();
  }
}

function check(bytes, name) {
  if (!MAGIC.every((byte, i) => bytes[i] === byte)) throw errorOf("CHM414", `${name} is not a wasm module`);
}

async function compile(bytes, name) {
  check(bytes, name);
  try {
    return await WebAssembly.compile(bytes);
  } catch (error) {
    if (/content security policy|\bcsp\b/i.test(error.message)) {
      throw new ContentSecurityError("the content security policy does not allow WebAssembly", { advice: "add 'wasm-unsafe-eval' to its script-src", cause: error });
    }
    const old = missing(name).map((feature) => FEATURES[feature]);
    const why = old.length ? `this browser or Node.js has no ${old.join(" and no ")}` : error.message;
    throw errorOf("CHM414", `${name} cannot run here: ${why}`);
  }
}

/**
 * Instantiate a verified module. One for threads gets a memory of as many bytes as `memory` says and threads - 1 workers;
 * it throws an ordinary Error where that is not possible.
 */
export async function openModule(bytes, name, { threads, memory: wanted, startThread }) {
  const module = await compile(bytes, name);
  if (!featuresOf(name).includes("threads")) {
    const { exports } = await WebAssembly.instantiate(module, {});
    return new Module(exports, exports.memory, 1, null);
  }
  const most = wanted + SPARE_BYTES + (threads - 1) * STACK_BYTES;
  const maximum = Math.min(65535, FIRST_PAGES + Math.ceil(most / PAGE));
  const memory = new WebAssembly.Memory({ initial: FIRST_PAGES, maximum, shared: true });
  const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
  const stacks = Array.from({ length: threads - 1 }, () => (exports.chm_memory_allocate(STACK_BYTES) >>> 0) + STACK_BYTES);
  return new Module(exports, memory, threads, await startThreads(module, memory, stacks, startThread));
}
