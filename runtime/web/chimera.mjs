// Loads a chimera web bundle and generates text with it: browsers, workers and Node 20 or newer, no dependencies.
//
//   const model = await load(new URL("./bundle/", import.meta.url), { onProgress });
//   for await (const { text } of model.generate("turn off the light", { maxTokens: 64, signal })) …
//   model.dispose();
//
// The decode loop, the tokenizer and the sampler are C in the wasm module; JavaScript moves bytes in and out.
import { checkLoadOptions, refuse } from "./arguments.mjs";
import { ChimeraError } from "./errors.mjs";
import { fetchManifest, memorySource, urlSource } from "./files.mjs";
import { checkManifest, fileOf, parseManifest } from "./manifest.mjs";
import { Model } from "./model.mjs";
import { openModule } from "./module.mjs";
import { defaultThreads, runnable } from "./variants.mjs";

const MAX_THREADS = 64;
const MOST_BYTES = 2 ** 32; // that a module of 32-bit addresses can have
const SCRATCH_BYTES = 16; // one 8-byte result and one 4-byte size

export { ChimeraError, Model };

/** Memory for a file; not every browser has as much in one piece as the manifest of a forged bundle may ask for. */
function room(file) {
  try {
    return new Uint8Array(file.bytes);
  } catch {
    throw new ChimeraError("CHM422", `there is no memory for the ${file.bytes} bytes of ${file.name}`);
  }
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

function addressOf(source) {
  try {
    return new URL(source, globalThis.location?.href);
  } catch {
    return refuse("the source is not a URL; a path needs the address of a page or module before it: new URL(path, import.meta.url)");
  }
}

/**
 * Load a bundle from the URL of its folder (or of its manifest.json), or from bytes: { manifest, wasm, weights, tokenizer, grammar,
 * variants: { name: bytes } }.
 *
 * options: onProgress({ file, loaded, total }) counts the bytes of all files; signal aborts; threads that share the work
 * (default 1; 0: as many as make sense), where memory can be shared; variant: file name of the module to use.
 */
export async function load(source, options = {}) {
  const { onProgress, signal, threads: wanted = 1, variant } = checkLoadOptions(options);
  signal?.throwIfAborted();
  if (wanted > MAX_THREADS) refuse(`${wanted} threads; 1 to ${MAX_THREADS} are possible, or 0 for the default`);
  const threads = wanted || defaultThreads();
  let manifest;
  let files;
  if (typeof source === "string" || source instanceof URL) {
    const given = addressOf(source);
    const isManifest = given.pathname.endsWith(".json");
    const base = isManifest || given.pathname.endsWith("/") ? given : new URL(`${given.pathname}/`, given);
    const url = isManifest ? given : new URL("manifest.json", base);
    manifest = await fetchManifest(url, signal);
    files = urlSource(base, signal);
  } else {
    if (source === null || typeof source !== "object") refuse("the source is neither the address of a bundle nor its bytes");
    const given = source.manifest;
    const isBytes = given instanceof ArrayBuffer || ArrayBuffer.isView(given);
    manifest = isBytes ? parseManifest(new Uint8Array(given.buffer ?? given, given.byteOffset ?? 0, given.byteLength), "the manifest") : given;
    if (typeof manifest === "string") manifest = parseManifest(new TextEncoder().encode(manifest), "the manifest");
    files = memorySource(source, signal);
  }
  checkManifest(manifest);

  const weights = fileOf(manifest, "weights");
  const tokenizer = fileOf(manifest, "tokenizer");
  const grammar = [fileOf(manifest, "grammar")].find((file) => file && files.has(file));
  const dataBytes = weights.bytes + (tokenizer?.bytes ?? 0) + (grammar?.bytes ?? 0);
  for (const bytes of [dataBytes, ...manifest.files.map((file) => file.bytes)]) {
    if (bytes > MOST_BYTES) throw new ChimeraError("CHM422", `${bytes} bytes are more than WebAssembly's memory can hold`);
  }
  let before = 0;
  let codeBytes = 0;
  const fill = async (file, target) => {
    await files.fill(file, target, (loaded) => onProgress?.({ file: file.name, loaded: before + loaded, total: codeBytes + dataBytes }));
    before += file.bytes;
    signal?.throwIfAborted();
  };

  const [module, code] = await firstThatRuns(candidates(manifest, files, threads, variant), async (file) => {
    const bytes = room(file);
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
