// Loads chimera web bundles and generates text with them: browsers, workers and Node 20.16 or newer, no dependencies.
//
//   const model = await Chimera.load("./bundle/", { onProgress });
//   for await (const { text } of model.generate("turn off the light", { maxTokens: 64, signal })) …
//   await model.dispose();
//
// The decode loop, the tokenizer and the sampler are C in the wasm module; JavaScript moves bytes in and out.
import { checkLoadOptions, kind, refuse } from "./arguments.mjs";
import { WorkerError } from "./errors.mjs";
import { addressesOf, cached, forget } from "./library.mjs";
import { Model } from "./model.mjs";
import { hasWorkers, isWorker } from "./workers.mjs";

export {
  ArgumentError, ChimeraError, ContainerError, ContentSecurityError, ContextError, FeatureError, GrammarError, HtmlError,
  HttpError, IntegrityError, ManifestError, MemoryError, NetworkError, QuotaError, SamplingError, SelfTestError, StateError,
  TargetError, TokenizerError, VersionError, WebAssemblyError, WorkerError,
} from "./errors.mjs";
export { Model };

const DRIVE = /^[A-Za-z]:[\\/]/; // a path of Windows, not an address with a scheme of one letter

/** The address that a caller gives: of URLs, of texts that are relative to the page, of paths in Node. */
function addressOf(source) {
  if (source instanceof URL) return source.href;
  const { process } = globalThis;
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  try {
    if (process?.getBuiltinModule && base === undefined && (DRIVE.test(source) || !URL.canParse(source))) {
      return process.getBuiltinModule("url").pathToFileURL(source).href;
    }
    return new URL(source, base).href;
  } catch {
    return refuse(`the source ${kind(source)} is not an address; one that is relative needs the address of a page or module before it: new URL(path, import.meta.url)`);
  }
}

/** The address of a bundle's manifest, by which it is kept. */
function manifestAddress(source) {
  if (typeof source !== "string" && !(source instanceof URL)) refuse(`the source is ${kind(source)}, not the address of a bundle`);
  return addressesOf(addressOf(source)).url.href;
}

/** The addresses of files by their names. */
function addressesIn(files) {
  if (files === null || typeof files !== "object" || !Object.hasOwn(files, "manifest.json")) refuse("files is no object of addresses by name with that of manifest.json");
  return Object.fromEntries(Object.entries(files).map(([name, address]) => {
    if (typeof address !== "string" && !(address instanceof URL)) refuse(`the address of ${name} is ${kind(address)}, not an address`);
    return [name, addressOf(address)];
  }));
}

/** The worker.mjs of a bundle on the page's own origin. */
function workerBeside(source) {
  const address = typeof source === "string" ? source : source.files?.["worker.mjs"] ?? source.files?.["manifest.json"];
  if (!address) return undefined;
  const url = new URL("worker.mjs", addressesOf(address).base);
  return url.origin === globalThis.location?.origin ? url : undefined;
}

export const Chimera = {
  /**
   * Load the bundle at the address of its folder (or of its manifest.json), from { files: { name: address } }, or from its bytes
   * { manifest, wasm, weights, tokenizer, grammar, variants: { name: bytes } }. It computes in a worker unless `worker` is false, there are none, or this
   * is one. The other options are in chimera.d.mts.
   */
  async load(source, options = {}) {
    const { worker, workerUrl, fetch, ...rest } = checkLoadOptions(options);
    rest.signal?.throwIfAborted();
    const isAddress = typeof source === "string" || source instanceof URL;
    if (!isAddress && (source === null || typeof source !== "object")) refuse("the source is neither the address of a bundle nor its bytes");
    const given = isAddress ? addressOf(source) : source.files ? { files: addressesIn(source.files) } : source;
    if (worker && !hasWorkers()) throw new WorkerError("there are no workers here", { advice: "load with worker: false" });
    const inWorker = worker ?? (hasWorkers() && !isWorker());
    try {
      return await Model.open(given, { inWorker, workerUrl, fetch }, rest);
    } catch (error) {
      const beside = error instanceof WorkerError && workerUrl === undefined && workerBeside(given);
      if (!beside) throw error;
      return Model.open(given, { inWorker, workerUrl: beside, fetch }, rest); // a bundler took this file elsewhere, and worker.mjs not with it
    }
  },

  /** The bundles that are kept in this browser: { url, name, kind, bytes, stored, complete }; url is that of the manifest. */
  cached,

  /** Forget the bundle of an address and what only it needs; false where it was not kept. */
  async delete(source) {
    return forget(manifestAddress(source));
  },
};
