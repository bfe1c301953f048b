// The main thread's side of worker.mjs: the same shape as Model, computing in a worker so that the page stays smooth.
import { ChimeraError } from "./chimera.mjs";

/** A model in a worker. Made by loadInWorker(). */
export class WorkerModel {
  #worker;
  #requests = new Map();
  #nextId = 1;

  constructor(worker) {
    this.#worker = worker;
    this.finishReason = null;
    worker.addEventListener("message", ({ data }) => this.#requests.get(data.id)?.(data));
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      this.#failAll(new ChimeraError("CHM421", `the worker has failed: ${event.message || "it could not be loaded"}`));
    });
  }

  #failAll(error) {
    for (const receive of [...this.#requests.values()]) receive({ type: "error", error });
  }

  /** Send a request; yields its messages, returns its result. */
  async *#request(message, signal) {
    if (!this.#worker) throw new ChimeraError("CHM421", "the model was disposed");
    signal?.throwIfAborted();
    const id = this.#nextId++;
    const received = [];
    let wake = () => {};
    this.#requests.set(id, (data) => { received.push(data); wake(); });
    const abort = () => this.#worker?.postMessage({ id, type: "abort" });
    signal?.addEventListener("abort", abort, { once: true });
    let ended = false;
    try {
      this.#worker.postMessage({ id, ...message });
      for (;;) {
        if (!received.length) await new Promise((resolve) => { wake = resolve; });
        const data = received.shift();
        if (!data) continue;
        ended = data.type === "done" || data.type === "error";
        if (data.type === "done") return data.result;
        if (data.type === "error") {
          signal?.throwIfAborted();
          throw data.error instanceof Error ? data.error : new ChimeraError(data.error.code ?? "CHM421", data.error.message);
        }
        yield data;
      }
    } finally {
      if (!ended) abort();
      this.#requests.delete(id);
      signal?.removeEventListener("abort", abort);
    }
  }

  async #result(message, { signal, onProgress } = {}) {
    const request = this.#request(message, signal);
    for (;;) {
      const { done, value } = await request.next();
      if (done) return value;
      onProgress?.(value.progress);
    }
  }

  /** @internal */
  async start(url, { threads, variant, ...options }) {
    Object.assign(this, await this.#result({ type: "load", url, options: { threads, variant } }, options));
    return this;
  }

  /** As Model.generate; always from the start of a sequence unless options.reset is false. */
  async *generate(prompt, options = {}) {
    const { signal, ...rest } = options;
    this.finishReason = null;
    const request = this.#request({ type: "generate", prompt, options: rest }, signal);
    try {
      for (;;) {
        const { done, value } = await request.next();
        if (done) {
          this.finishReason = value.finishReason;
          return;
        }
        yield value.piece;
      }
    } finally {
      await request.return();
    }
  }

  /** As Model.selfTest. */
  selfTest() {
    return this.#result({ type: "selfTest" });
  }

  /** End the worker; this frees all memory of the model at once. */
  dispose() {
    this.#worker?.terminate();
    this.#worker = null;
    this.#failAll(new ChimeraError("CHM421", "the model was disposed"));
  }
}

/** Load the bundle at a URL in a new worker. options as of load(): onProgress, signal, threads, variant. */
export async function loadInWorker(url, options = {}) {
  const worker = new Worker(new URL("./worker.mjs", import.meta.url), { type: "module" });
  const model = new WorkerModel(worker);
  try {
    return await model.start(new URL(url, globalThis.location?.href).href, options);
  } catch (error) {
    model.dispose();
    throw error;
  }
}
