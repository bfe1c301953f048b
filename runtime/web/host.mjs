// The side of a model that computes, in a worker (worker.mjs) or in the caller's thread (ports.mjs). Requests come in, each with
// an `id`; any number of messages goes out for each: progress, pieces, and at the end done or error.
import { withGrammar } from "./compiling.mjs";
import { errorOf } from "./errors.mjs";
import { proxiedFetch } from "./proxy.mjs";
import { loadEngine } from "./loading.mjs";

/** What may be asked for while a generation runs, between its slices; the rest waits for its end. */
const FREE = ["tokenize", "logits", "stateHash", "logitsHash", "snapshot"];

export class Host {
  #engine = null;
  #send;
  #startThread;
  #running = new Map(); // id → { stop: AbortController, untaken, wake }
  #fetches = null;
  #last = Promise.resolve(); // of what changes the sequence one request at a time: an aborted one ends before the next begins

  /** send(message): a message for the other side; startThread(): a worker for a thread of the model. */
  constructor(send, startThread) {
    this.#send = send;
    this.#startThread = startThread;
  }

  receive({ id, type, ...details }) {
    const request = this.#running.get(id);
    if (type === "fetched") this.#fetches?.receive(details);
    else if (type === "abort") {
      request?.stop.abort(details.reason);
      request?.wake();
    } else if (type === "took" && request) {
      request.untaken -= details.count;
      request.wake();
    } else if (REQUESTS[type]) {
      this.#running.set(id, { stop: new AbortController(), untaken: 0, wake() {} });
      const answer = () => this.#answer(id, type, details);
      if (FREE.includes(type)) answer();
      else this.#last = this.#last.then(answer);
    }
  }

  async #answer(id, type, details) {
    const { signal } = this.#running.get(id).stop;
    const run = { signal, onProgress: (progress) => this.#send({ id, type: "progress", progress }) };
    try {
      signal.throwIfAborted();
      if (type !== "load" && !this.#engine) throw errorOf("CHM421", "the model was disposed");
      const result = await REQUESTS[type].call(this, details, run, id);
      this.#send({ id, type: "done", result, ...this.#place() });
    } catch (error) {
      this.#send({ id, type: "error", error, ...this.#place() });
    } finally {
      this.#running.delete(id);
    }
  }

  /** Where the sequence stands. */
  #place() {
    if (!this.#engine) return {};
    const { position, iterations, memoryBytes } = this.#engine;
    return { position, iterations, memoryBytes };
  }

  get engine() {
    return this.#engine;
  }

  async load(source, options, run) {
    if (options.proxied) this.#fetches = proxiedFetch((message) => this.#send(message));
    const { proxied: none, ...rest } = options;
    const { engine, storage } = await loadEngine(source, { ...rest, ...run, startThread: this.#startThread, ...(this.#fetches ? { fetch: this.#fetches.fetch } : {}) });
    this.#engine = engine;
    const { manifest, vocabSize, maxLoops, context, threads, variant } = engine;
    return { manifest, vocabSize, maxLoops, context, threads, variant, storage };
  }

  /** Send pieces as they come, but only so many ahead of what the other side has taken. */
  async pieces(steps, ahead, id) {
    const request = this.#running.get(id);
    for await (const piece of steps) {
      request.untaken += 1;
      this.#send({ id, type: "piece", piece });
      while (request.untaken > ahead && !request.stop.signal.aborted) await new Promise((resolve) => { request.wake = resolve; });
    }
    return this.#engine.result;
  }

  dispose() {
    for (const { stop, wake } of this.#running.values()) {
      stop.abort(errorOf("CHM421", "the model was disposed"));
      wake();
    }
    this.#engine?.dispose();
    this.#engine = null;
  }
}

/** Answers, by the name of the request; `this` is the host. */
const REQUESTS = {
  load({ source, options }, run) {
    return this.load(source, options, run);
  },
  async generate({ prompt, options, ahead }, run, id) {
    const given = await withGrammar(options, run.signal);
    return this.pieces(this.engine.generate(prompt, { ...given, ...run }), ahead, id);
  },
  async chat({ messages, options, ahead }, run, id) {
    const given = await withGrammar(options, run.signal);
    return this.pieces(this.engine.chat(messages, { ...given, ...run }), ahead, id);
  },
  prefill({ tokens }, run) {
    return this.engine.prefill(tokens, run);
  },
  selfTest(details, run) {
    return this.engine.selfTest(run);
  },
  call({ inputs, options }) {
    return this.engine.call(inputs, options);
  },
  setNames({ home }, run) {
    return this.engine.setNames(home, run);
  },
  setMemory({ vectors, width }) {
    this.engine.setMemory(vectors, width);
  },
  reset() {
    this.engine.reset();
  },
  restore({ snapshot }) {
    this.engine.restore(snapshot);
  },
  tokenize({ text, options }) {
    return this.engine.tokenize(text, options);
  },
  logits() {
    return this.engine.logits();
  },
  stateHash() {
    return this.engine.stateHash();
  },
  logitsHash() {
    return this.engine.logitsHash();
  },
  snapshot() {
    return this.engine.snapshot();
  },
};
