// The main thread's side of worker.mjs: the same shape as Model, computing in a worker so that the page stays smooth.
import { checkChatOptions, checkGenerateOptions, checkLoadOptions, checkPrompt, checkRunOptions } from "./arguments.mjs";
import { checkMessages } from "./chat.mjs";
import { checkCall } from "./tensors.mjs";
import { ChimeraError } from "./errors.mjs";

/** Generations that nobody refers to any more, which then have the model no longer. */
const abandoned = new FinalizationRegistry((free) => free());

/** A model in a worker. Made by loadInWorker(). One generation or self-test at a time: another one throws CHM421. */
export class WorkerModel {
  #turn = null; // of the generation or self-test that has the model
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

  /** Send a request; yields its messages, returns its result. It is the only one until it ends. */
  async *#request(turn, message, signal) {
    if (!this.#worker) throw new ChimeraError("CHM421", "the model was disposed");
    if (this.#turn) throw new ChimeraError("CHM421", "a generation is running; end or abort it first");
    signal?.throwIfAborted();
    const id = this.#nextId++;
    const received = [];
    let wake = () => {};
    const abort = () => this.#worker?.postMessage({ id, type: "abort" });
    turn.end = () => {
      if (this.#turn === turn) this.#turn = null;
      this.#requests.delete(id);
      signal?.removeEventListener("abort", abort);
    };
    turn.abort = abort;
    this.#turn = turn;
    this.#requests.set(id, (data) => { received.push(data); wake(); });
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
      turn.end();
    }
  }

  async #result(message, { signal, onProgress } = {}) {
    const request = this.#request({}, message, signal);
    try {
      for (;;) {
        const { done, value } = await request.next();
        if (done) return value;
        if (value.type === "progress") onProgress?.(value.progress);
      }
    } finally {
      await request.return();
    }
  }

  /** @internal */
  async start(url, { threads, variant, ...run }) {
    Object.assign(this, await this.#result({ type: "load", url, options: { threads, variant } }, run));
    return this;
  }

  /** As Model.generate; always from the start of a sequence unless options.reset is false. */
  generate(prompt, options = {}) {
    return this.#steps(() => ({ type: "generate", prompt: checkPrompt(prompt, this.vocabSize) }), () => checkGenerateOptions(options));
  }

  /** As Model.chat. */
  chat(messages, options = {}) {
    return this.#steps(() => ({ type: "chat", messages: checkMessages(messages, this.manifest.chat) }), () => checkChatOptions(options));
  }

  /** Pieces of a generation; what is asked for is checked when the first is wanted. */
  #steps(ask, check) {
    const turn = { end() {}, abort() {} };
    const steps = this.#generate(turn, ask, check);
    abandoned.register(steps, () => { turn.abort(); turn.end(); });
    return steps;
  }

  async *#generate(turn, ask, check) {
    const { signal, onProgress, ...options } = check();
    const request = this.#request(turn, { ...ask(), options }, signal);
    try {
      this.finishReason = null;
      for (;;) {
        const { done, value } = await request.next();
        if (done) {
          this.finishReason = value.finishReason;
          return;
        }
        if (value.type === "progress") onProgress?.(value.progress);
        else yield value.piece;
      }
    } finally {
      await request.return();
    }
  }

  /** As Model.call, but a promise of its results. */
  async call(inputs, options = {}) {
    checkCall(this.manifest.entries, inputs, options);
    return this.#result({ type: "call", inputs, options });
  }

  /** As Model.reset. */
  async reset() {
    await this.#result({ type: "reset" });
  }

  /** As Model.setNames. */
  async setNames(home, options = {}) {
    await this.#result({ type: "setNames", home }, checkRunOptions(options));
  }

  /** As Model.selfTest. */
  async selfTest(options = {}) {
    return this.#result({ type: "selfTest" }, checkRunOptions(options));
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
  const checked = checkLoadOptions(options);
  const worker = new Worker(new URL("./worker.mjs", import.meta.url), { type: "module" });
  const model = new WorkerModel(worker);
  try {
    return await model.start(new URL(url, globalThis.location?.href).href, checked);
  } catch (error) {
    model.dispose();
    throw error;
  }
}
