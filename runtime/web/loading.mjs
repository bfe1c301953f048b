// Loading a bundle into this thread: its files, verified, into the memory of the best of its modules that runs here.
import { Engine } from "./engine.mjs";
import { ChimeraError, IntegrityError, MemoryError, WebAssemblyError } from "./errors.mjs";
import { FolderSource, MemorySource, room, ServerSource } from "./files.mjs";
import { instead, refuse, unknown } from "./arguments.mjs";
import { addressesOf } from "./library.mjs";
import { checkManifest, fileOf } from "./manifest.mjs";
import { openModule } from "./module.mjs";
import { Network } from "./network.mjs";
import { useSpans } from "./speculation.mjs";
import { defaultThreads, runnable } from "./variants.mjs";

const MOST_BYTES = 2 ** 32; // that a module of 32-bit addresses can have
const OPTIONAL = ["grammar", "spans"]; // roles of files that a model runs without
const SCRATCH_BYTES = 16; // one 8-byte result and one 4-byte size
const SKIP_CHECKSUMS = 1; // the SHA-256 of all bytes was compared

/** The modules of a bundle to try, in this order. */
function candidates(manifest, files, threads, variant) {
  const code = fileOf(manifest, "code");
  const all = manifest.files.filter((file) => file === code || (file.role === "variant" && files.has(file)));
  if (variant !== undefined) {
    const chosen = all.find((file) => file.name === variant);
    if (!chosen) refuse(`${unknown("module", variant)}; ${instead(variant, all.map(({ name }) => name))}`);
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

function tableSource(files, options) {
  const addressOf = ({ name }) => {
    if (!Object.hasOwn(files, name)) throw new IntegrityError(`there is no address of ${name} among the files`);
    return files[name];
  };
  return new ServerSource(files["manifest.json"], addressOf, new Network(options), options);
}

function sourceOf(source, options) {
  if (source.files?.["manifest.json"].startsWith("file:")) return sourceOf(source.files["manifest.json"], options); // where files keep their names
  if (source.files) return tableSource(source.files, options);
  if (typeof source !== "string") return new MemorySource(source, options);
  const { base, url } = addressesOf(source);
  if (url.protocol === "file:" && globalThis.process?.getBuiltinModule) return new FolderSource(url, base, options);
  // with its content in the address, a file may be kept for good; servers that know nothing of that send it all the same
  const addressOf = ({ name, sha256 }) => new URL(`${name}?v=${sha256.slice(0, 16)}`, base).href;
  return new ServerSource(url, addressOf, new Network(options), options);
}

/** Progress of all files together; it never goes back. */
function progressOf(onProgress, storage) {
  const loaded = new Map();
  let total = 0;
  let most = 0;
  return {
    expect(files) {
      for (const file of files) {
        if (loaded.has(file)) continue;
        loaded.set(file, 0);
        total += file.bytes;
      }
    },
    of: (file) => (bytes) => {
      loaded.set(file, Math.max(bytes, loaded.get(file)));
      most = Math.max(most, [...loaded.values()].reduce((sum, one) => sum + one, 0));
      onProgress?.({ phase: storage.downloaded ? "download" : "verify", loaded: most, total, cached: storage.cached });
    },
    compiling: (done) => onProgress?.({ phase: "compile", loaded: done, total: 1, cached: storage.cached }),
  };
}

/**
 * The engine of a bundle. source: the address of its folder or manifest.json as a text, or its bytes. options: those of
 * Chimera.load(), and startThread(), a worker for a thread of the model. Gives { engine, storage }.
 */
export async function loadEngine(source, options) {
  if (typeof WebAssembly !== "object") throw new WebAssemblyError("there is no WebAssembly here");
  const stop = new AbortController(); // of everything, when one thing fails
  const abort = () => stop.abort(options.signal.reason);
  options.signal?.addEventListener("abort", abort, { once: true });
  if (options.signal?.aborted) abort();
  try {
    return await load(source, { ...options, signal: stop.signal });
  } catch (error) {
    options.signal?.throwIfAborted();
    throw error;
  } finally {
    options.signal?.removeEventListener("abort", abort);
    stop.abort();
  }
}

async function load(source, { signal, threads = 1, ...options }) {
  const files = sourceOf(source, { signal, ...options });
  const given = { ...options, threads: threads || defaultThreads() };
  const first = attempt(await files.manifest(), files, signal, given);
  let newer;
  try {
    newer = await files.newer(); // meanwhile what is kept is read, and is an engine only if the server has no other
  } catch (error) {
    await first.undo(error);
    throw error;
  }
  if (newer) await first.undo(new Error("the server has another manifest"));
  const engine = await (newer ? attempt(await files.manifest(newer), files, signal, given) : first).opened;
  await files.end();
  return { engine, storage: files.storage };
}

/** An engine in the making: { opened, undo(reason) }. */
function attempt(manifest, files, signal, options) {
  const stop = new AbortController();
  if (signal.aborted) stop.abort(signal.reason);
  signal.addEventListener("abort", () => stop.abort(signal.reason), { once: true });
  const opened = open(checkManifest(manifest), files, stop.signal, options);
  opened.catch(() => {}); // who waits for it is told
  const undo = async (reason) => {
    stop.abort(reason);
    await opened.then((engine) => engine.dispose(), () => {});
  };
  return { opened, undo };
}

async function open(manifest, files, signal, { onProgress, threads, variant, startThread }) {
  const data = ["weights", "tokenizer", "grammar", "spans"].map((role) => fileOf(manifest, role)).filter((file) => file && (!OPTIONAL.includes(file.role) || files.has(file)));
  const dataBytes = data.reduce((sum, { bytes }) => sum + bytes, 0);
  for (const bytes of [dataBytes, ...manifest.files.map((file) => file.bytes)]) {
    if (bytes > MOST_BYTES) throw new MemoryError(`${bytes} bytes are more than WebAssembly's memory can hold`, { advice: "load a smaller model" });
  }
  const choices = candidates(manifest, files, threads, variant);
  const progress = progressOf(onProgress, files.storage);
  await files.prepare([choices[0], ...data]);
  progress.expect([choices[0], ...data]);

  let ready;
  const placed = new Promise((resolve, reject) => { ready = { resolve, reject }; }); // { module, at: file → address }
  placed.catch(() => {}); // told below
  const fill = async (file) => {
    await files.read(file, async (offset, bytes) => {
      const { module, at } = await placed;
      signal.throwIfAborted();
      module.bytes(at.get(file) + offset, bytes.length).set(bytes);
    }, progress.of(file));
  };
  const openCode = async (file) => {
    progress.expect([file]);
    const bytes = room(file.name, file.bytes);
    await files.read(file, async (offset, some) => bytes.set(some, offset), progress.of(file));
    signal.throwIfAborted();
    progress.compiling(0);
    const { state_bytes: state = 0, arena_bytes: arena = 0 } = manifest.memory ?? {};
    return openModule(bytes, file.name, { threads, memory: dataBytes + 3 * state + arena, startThread });
  };
  const prepare = async () => {
    const [module, code] = await firstThatRuns(choices, openCode);
    progress.compiling(1);
    module.call("chm_memory_reserve", dataBytes + (module.exports.chm_session_bytes() >>> 0) + (1 << 20));
    ready.resolve({ module, at: new Map(data.map((file) => [file, module.allocate(file.bytes)])) });
    return code;
  };
  try {
    const [code] = await Promise.all([prepare().catch((error) => { ready.reject(error); throw error; }), ...data.map(fill)]);
    const { module, at } = await placed;
    signal.throwIfAborted();
    return engineOf(module, manifest, code.name, (role) => placeOf(data, at, role));
  } catch (error) {
    placed.then(({ module }) => module.stop(), () => {});
    throw error;
  }
}

function placeOf(data, at, role) {
  const file = data.find((one) => one.role === role);
  return file ? { pointer: at.get(file), bytes: file.bytes } : null;
}

function engineOf(module, manifest, variant, place) {
  const scratch = module.allocate(SCRATCH_BYTES);
  const handle = (name, ...values) => {
    module.call(name, ...values, scratch);
    return module.number(scratch);
  };
  const [weights, tokenizer] = [place("weights"), place("tokenizer")];
  const bundle = handle("chm_bundle_open", weights.pointer, weights.bytes, tokenizer?.pointer ?? 0, tokenizer?.bytes ?? 0, SKIP_CHECKSUMS, 0);
  const session = handle("chm_session_open", bundle, 0);
  module.share(bundle);
  const bank = useSpans(module, bundle, session, scratch, place("spans"));
  return new Engine(module, manifest, { bundle, session, bank }, scratch, variant, place("grammar"));
}
