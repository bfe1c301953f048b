// A loaded model, as its caller has it: the same in a worker and in the caller's thread. Requests go to a host (host.mjs).
import { checkBytes, checkChatOptions, checkGenerateOptions, checkPrompt, checkRunOptions, checkText, checkTokenizeOptions, checkTokens } from "./arguments.mjs";
import { checkMessages } from "./chat.mjs";
import { complete } from "./completions.mjs";
import { StateError } from "./errors.mjs";
import { Generation } from "./generation.mjs";
import { LocalPort, WorkerPort } from "./ports.mjs";
import { namesOf } from "./names.mjs";
import { fetchingFor } from "./proxy.mjs";
import { withSource } from "./sources.mjs";
import { checkCall } from "./tensors.mjs";

const AHEAD = 16; // pieces that a worker may compute before they are taken

const disposed = () => new StateError("the model was disposed");

/**
 * A loaded model with one sequence. Made by Chimera.load(). One generation, prefill, call or self-test at a time: another one,
 * and what would change the sequence, throws StateError.
 */
export class Model {
  #port;
  #requests = new Map(); // id → receive(message)
  #nextId = 1;
  #turn = null; // of what has the model
  #failure = null; // why nothing can be asked any more
  #fetched = null;

  /** @internal */
  constructor(inWorker, workerUrl, fetch) {
    const Port = inWorker ? WorkerPort : LocalPort;
    this.#port = new Port(workerUrl, (message) => this.#receive(message), (error) => this.#fail(error));
    if (fetch && inWorker) this.#fetched = fetchingFor(fetch, (message) => { if (!this.#failure) this.#port.post(message); });
    this.position = 0;
    this.iterations = 0;
    this.memoryBytes = 0;
    const create = (request, options) => complete(this, request, options);
    this.chat = Object.assign((messages, options) => this.#chat(messages, options), { completions: { create } });
  }

  #receive(message) {
    if (message.type === "fetch") {
      this.#fetched(message);
      return;
    }
    const { position = this.position, iterations = this.iterations, memoryBytes = this.memoryBytes } = message;
    Object.assign(this, { position, iterations, memoryBytes });
    this.#requests.get(message.id)?.(message);
  }

  #fail(error) {
    this.#failure ??= error;
    for (const receive of [...this.#requests.values()]) receive({ type: "error", error });
  }

  /** Send a request; yields its messages, returns its result. With a turn it is the only one until it ends. */
  async *#request(turn, message, signal) {
    if (this.#failure) throw this.#failure;
    if (turn && this.#turn) throw new StateError("a prefill or generation is running; end or abort it first");
    signal?.throwIfAborted();
    const id = this.#nextId++;
    const received = [];
    let wake = () => {};
    const abort = () => { if (!this.#failure) this.#port.post({ id, type: "abort", ...(this.#port.inThread ? { reason: signal?.reason } : {}) }); };
    const end = () => {
      if (this.#turn === turn) this.#turn = null;
      this.#requests.delete(id);
      if (!this.#requests.size && !this.#failure) this.#port.hold(false);
      signal?.removeEventListener("abort", abort);
    };
    if (turn) {
      Object.assign(turn, { abort, end, took: (count) => this.#port.post({ id, type: "took", count }) });
      this.#turn = turn;
    }
    this.#requests.set(id, (data) => { received.push(data); wake(); });
    this.#port.hold(true);
    signal?.addEventListener("abort", abort, { once: true });
    const next = async () => {
      while (!received.length) await new Promise((resolve) => { wake = resolve; });
      const data = received.shift();
      ended = data.type === "done" || data.type === "error";
      return data;
    };
    let ended = false;
    try {
      this.#port.post({ id, ...message });
      for (;;) {
        const data = await next();
        if (data.type === "done") return data.result;
        if (data.type === "error") {
          signal?.throwIfAborted();
          throw data.error;
        }
        yield data;
      }
    } finally {
      if (!ended) abort();
      while (!ended && !this.#failure) await next(); // then the model stands still
      end();
    }
  }

  /** The result of a request that is the only one until it ends. */
  async #alone(message, { signal, onProgress } = {}) {
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

  /** The result of a request that is free while others run. */
  async #look(type, details = {}) {
    const request = this.#request(null, { type, ...details });
    const { value } = await request.next();
    return value;
  }

  /** @internal */
  static async open(source, { inWorker, workerUrl, fetch }, { signal, onProgress, ...options }) {
    const model = new Model(inWorker, workerUrl, fetch);
    try {
      const transmitted = inWorker ? { ...options, proxied: Boolean(fetch) } : { ...options, fetch };
      const loaded = await model.#alone({ type: "load", source, options: transmitted }, { signal, onProgress });
      signal?.throwIfAborted(); // too late to be seen on the other side
      return Object.assign(model, loaded);
    } catch (error) {
      await model.dispose();
      throw error;
    }
  }

  #needTokens() {
    if (this.manifest.entries?.length) throw new StateError("the bundle holds no language model, and has no tokens; use call()");
  }

  /**
   * Run a prompt (a text, its bytes as Uint8Array, or token ids) and generate: an async iterator of { text, token }, whose
   * `result` is a promise of { text, tokens, finishReason, score, refused, speculation, diagnostics, usage, promptMs, generateMs }.
   */
  generate(prompt, options = {}) {
    return this.#generation(() => [checkGenerateOptions(options), { type: "generate", prompt: checkPrompt(prompt, this.vocabSize) }]);
  }

  /** Answer a conversation; as generate, but pieces have a `part`. */
  #chat(messages, options = {}) {
    return this.#generation(() => [checkChatOptions(options), { type: "chat", messages: checkMessages(messages, this.manifest.chat) }]);
  }

  /** What is asked for is checked when the first piece is wanted. */
  #generation(ask) {
    const turn = { end() {}, abort() {} };
    const seen = {};
    return new Generation(this.#steps(turn, ask, seen), seen, () => {
      turn.abort();
      turn.end();
    });
  }

  async *#steps(turn, ask, seen) {
    this.#needTokens();
    const [{ signal, onProgress, ahead: wanted = AHEAD, ...asked }, message] = ask();
    const options = withSource(asked);
    const ahead = this.#port.inThread ? 0 : wanted;
    const request = this.#request(turn, { ...message, options, ahead }, signal);
    let untaken = 0;
    let made = 0;
    let most = 0;
    try {
      for (;;) {
        const { done, value } = await request.next();
        if (done) return value;
        if (value.type === "progress") {
          const { phase, total } = value.progress;
          if (phase === "prompt") seen.promptTokens = total;
          else most = total;
          onProgress?.(value.progress);
          continue;
        }
        made += value.piece.token >= 0 ? 1 : 0;
        onProgress?.({ phase: "generate", loaded: made, total: most });
        yield value.piece;
        untaken += 1;
        if (untaken > ahead / 2) {
          turn.took(untaken);
          untaken = 0;
        }
      }
    } finally {
      await request.return();
    }
  }

  /**
   * Tokens of a text (or of UTF-8 bytes), without a begin token. With `specials` the names of special tokens in it become
   * these tokens: only for text of your own, because a stranger's could end turns and speak as the system. Some tokenizers
   * put a space before a text; with `begins: false`, of a text that follows others, some put none.
   */
  async tokenize(text, options = {}) {
    return this.#look("tokenize", { text: checkText(text, "the text"), options: checkTokenizeOptions(options) });
  }

  /** Run tokens through the model. Aborting `signal` throws its reason; the tokens up to there were run. */
  async prefill(tokens, options = {}) {
    this.#needTokens();
    const run = checkRunOptions(options);
    await this.#alone({ type: "prefill", tokens: checkTokens(tokens, this.vocabSize, "tokens") }, run);
  }

  /** Results of a module that is no language model, by name (docs/modules.md). */
  async call(inputs, options = {}) {
    checkCall(this.manifest.entries, inputs, options);
    return this.#alone({ type: "call", inputs, options });
  }

  /** Back to the start of a sequence. */
  async reset() {
    await this.#alone({ type: "reset" });
  }

  /** Tell the model which things, areas and floors a home has (see Home in chimera.d.mts), or null to forget them. */
  async setNames(home, options = {}) {
    const run = checkRunOptions(options);
    if (home !== null) namesOf(home);
    await this.#alone({ type: "setNames", home }, run);
  }

  /** Let span knots read a memory where a block of tokens begins (docs/spans.md): vectors after one another, or null for none. */
  async setMemory(vectors, width = 0) {
    if (vectors !== null) vectors = checkBytes(vectors, "the memory");
    await this.#alone({ type: "setMemory", vectors, width });
  }

  /** The logits of the last token that was run; null before the first. */
  async logits() {
    return this.#look("logits");
  }

  /** 64-bit hash of the recurrent state. */
  async stateHash() {
    return this.#look("stateHash");
  }

  /** 64-bit hash of the logits. */
  async logitsHash() {
    return this.#look("logitsHash");
  }

  /** The sequence as the bytes of a file of kind "state", for restore() here or in any other runtime of the model. */
  async snapshot() {
    return this.#look("snapshot");
  }

  /** Go back to a snapshot of the same model; where it is refused, nothing changes. */
  async restore(snapshot) {
    await this.#alone({ type: "restore", snapshot: checkBytes(snapshot, "the snapshot") });
  }

  /** Compute the manifest's self-test; throws SelfTestError if anything differs. False if there is none. */
  async selfTest(options = {}) {
    return this.#alone({ type: "selfTest" }, checkRunOptions(options));
  }

  /** End what runs and give the memory back: all of it at once in a worker, else when the last reference is gone. */
  async dispose() {
    if (this.#failure?.disposed) return;
    const failure = Object.assign(disposed(), { disposed: true });
    this.#failure = failure;
    this.#fail(failure);
    await this.#port.close();
  }

  async [Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose")]() {
    await this.dispose();
  }
}
