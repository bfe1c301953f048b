// A loaded model with its one sequence, in its own thread: the decode loop, the tokenizer and the sampler are C in its module.
// Whoever asks (host.mjs) makes one call at a time that changes the sequence.
import { checkBytes, checkChatOptions, checkTokenizeOptions, checkGenerateOptions, checkPrompt, checkRunOptions, checkText, checkTokens, instead, slotTexts, unknown } from "./arguments.mjs";
import { answerParts, checkMessages, itemsOf, tokensOf } from "./chat.mjs";
import { callEntry, checkCall } from "./tensors.mjs";
import { errorOf } from "./errors.mjs";
import { Grammars } from "./grammars.mjs";
import { FINISHED } from "./module.mjs";
import { diagnosticsOf, useLedger } from "./ledger.mjs";
import { namesOf } from "./names.mjs";
import { refusalFor, unlessRefused } from "./refusing.mjs";
import { selfTest } from "./self-test.mjs";
import { speculationOf, useMemory, useShares } from "./speculation.mjs";
import { StopTexts } from "./stops.mjs";
import { nextTask, pauses, Slices } from "./slices.mjs";
import { encodeInParts, encodeText, hintOf } from "./texts.mjs";
import { useValve } from "./valve.mjs";

const MAX_TOKENS = 256; // where neither the caller nor the bundle says how many

/** A loaded model with one session. Made by loadEngine(). */
export class Engine {
  #module;
  #bundle;
  #session;
  #bank; // of spans, 0 without one
  #scratch;
  #grammars;
  #slices;
  #finishReason = null;
  #score = null; // the sum of the log probabilities of the last generation's tokens, if it is counted
  #refused = false;
  #tokens = [];
  #usage = { promptTokens: 0, promptMs: 0, generateMs: 0 };
  #memory = null; // { pointer, size } of the vectors that span knots read
  #cut = false; // whether the last answer was cut at a stop text
  #named = null; // { lists, tokens, after }: what setNames was told, and the sequence after its text
  #held = null; // a conversation that is in the sequence: { messages, end }

  constructor(module, manifest, { bundle, session, bank }, scratch, variant, grammars) {
    this.#grammars = new Grammars(module, bundle, scratch, grammars);
    this.#module = module;
    this.#bundle = bundle;
    this.#session = session;
    this.#bank = bank;
    this.#scratch = scratch;
    this.#slices = new Slices(manifest.memory?.decode_bytes || manifest.memory?.weights_bytes || 0);
    this.manifest = manifest;
    this.vocabSize = module.exports.chm_vocab_size();
    this.maxLoops = module.exports.chm_max_loops();
    this.context = module.exports.chm_context?.() || 0x7fffffff; // a module of before has no limit
    this.variant = variant;
    this.threads = module.threads;
  }

  #live() {
    if (!this.#module) throw errorOf("CHM421", "the model was disposed");
    return this.#module;
  }

  #view(size) {
    return new DataView(this.#live().memory.buffer, this.#scratch, size);
  }

  /**
   * Tokens of a text (or of UTF-8 bytes), without a begin token. With `specials` the names of special tokens in it become
   * these tokens: only for text of your own, because a stranger's could end turns and speak as the system. Some tokenizers
   * put a space before a text; with `begins: false`, of a text that follows others, some put none.
   */
  tokenize(text, options = {}) {
    const { specials, begins } = checkTokenizeOptions(options);
    return encodeText(this.#live(), this.#bundle, this.#scratch, checkText(text, "the text"), { specials, begins });
  }

  /**
   * Run tokens through the model, in slices between which the event loop has its turn. Aborting `signal` throws its reason;
   * the tokens up to there were run.
   */
  async prefill(tokens, options = {}) {
    this.#needTokens();
    const checked = checkRunOptions(options);
    const values = checkTokens(tokens, this.vocabSize, "tokens");
    checked.signal?.throwIfAborted();
    this.#checkRoom(values.length, this.#room());
    this.#held = null;
    await this.#run(values, checked);
  }

  /** Tokens that the sequence has room for. */
  #room() {
    const { exports } = this.#live();
    return exports.chm_session_room?.(this.#session) ?? this.context - this.position;
  }

  #checkRoom(count, room) {
    if (count > room) throw errorOf("CHM424", `${count} tokens more; of the context of ${this.context}, ${room} are left`);
  }

  async #run(tokens, { signal, onProgress }) {
    const module = this.#live();
    const total = tokens.length;
    const pointer = module.allocate(4 * total);
    try {
      module.bytes(pointer, 4 * total).set(new Uint8Array(tokens.buffer, tokens.byteOffset, 4 * total));
      for (let done = 0; ;) {
        const count = this.#slices.next(this.position, total - done);
        const begun = performance.now();
        // a module of before computes the logits after each part
        const part = done + count < total && module.exports.chm_session_prefill_part;
        module.call(part ? "chm_session_prefill_part" : "chm_session_prefill", this.#session, pointer + 4 * done, count);
        if (count) this.#slices.took(count, performance.now() - begun);
        done += count;
        if (total) onProgress?.({ phase: "prompt", loaded: done, total });
        if (done === total) return;
        await nextTask();
        signal?.throwIfAborted();
        this.#live(); // it may have been disposed meanwhile
      }
    } finally {
      module.release(pointer, 4 * total);
    }
  }

  /** Tokens of a prompt: with the begin token before a text that starts a sequence, and the answer token after it. */
  async #promptTokens(text, atStart, signal) {
    const module = this.#live();
    const special = (role) => module.withBytes(new TextEncoder().encode(`${role}\0`), (pointer) => module.exports.chm_tokenizer_special(this.#bundle, pointer));
    const [begin, answer] = [atStart ? special("begin") : -1, special("answer")];
    const tokens = await encodeInParts(() => this.#live(), this.#bundle, this.#scratch, text, { begins: atStart, signal });
    if (!tokens.length && atStart && begin < 0) throw errorOf("CHM420", "the prompt is empty");
    const one = (token) => (token < 0 ? [] : [token]);
    return Int32Array.from([...one(begin), ...tokens, ...(special("heard") < 0 ? [] : hintOf(module, this.#session, this.#scratch)), ...one(answer)]);
  }

  /**
   * Results of a module that is no language model, by name: Float32Array or Int32Array, each in row-major order of the
   * shape in manifest.entries. inputs: the same by name, or arrays of numbers; integers and truth values are Int32Array.
   * options: entry, the name of what is called (default: the first); n, the extent of the axis T where no input tells it.
   */
  call(inputs, options = {}) {
    const { entry, tensors, n } = checkCall(this.manifest.entries, inputs, options);
    return callEntry(this.#live(), this.#session, entry, tensors, n);
  }

  #needTokens() {
    if (this.manifest.entries?.length) throw errorOf("CHM421", "the bundle holds no language model, and has no tokens; use call()");
  }

  /** Back to the start of a sequence. */
  reset() {
    this.#live().call("chm_session_reset", this.#session);
    this.#held = null;
  }

  /** Tell the model which things, areas and floors a home has (see Home in chimera.d.mts), or null to forget them. */
  async setNames(home, options = {}) {
    this.#named = null;
    this.reset();
    if (home === null) return;
    const { prefix, lists } = namesOf(home);
    if (prefix) await this.prefill(this.tokenize(prefix), options);
    this.#named = { lists, tokens: this.position, after: prefix ? this.snapshot() : null };
  }

  /** Let span knots read a memory from now on, or none. */
  setMemory(vectors, width) {
    this.#memory = useMemory(this.#live(), this.#session, vectors, width, this.#memory);
  }

  /** To the start of a sequence: after the names, if there are some. */
  #startSequence() {
    if (!this.#named?.after) this.#live().call("chm_session_reset", this.#session);
    else this.#restore(this.#named.after);
  }

  get position() {
    return this.#live().exports.chm_session_position(this.#session);
  }

  /** Bytes of the module's memory. */
  get memoryBytes() {
    return this.#live().memory.buffer.byteLength;
  }

  /** Loop iterations of the last call. */
  get iterations() {
    return this.#live().exports.chm_session_iterations(this.#session);
  }

  /**
   * What the last generation came to: tokens; finishReason "stop" or "length", null where it was left early; score, the sum
   * of their log probabilities, if it was counted; refused; what speculation did; diagnostics; promptTokens, and the milliseconds that prompt and tokens took.
   */
  get result() {
    return { tokens: Int32Array.from(this.#tokens), finishReason: this.#finishReason, score: this.#score, refused: this.#refused, speculation: speculationOf(this.#live(), this.#session), diagnostics: diagnosticsOf(this.#live(), this.#session), ...this.#usage };
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
    const module = this.#live();
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
    const bytes = checkBytes(snapshot, "the snapshot");
    this.#held = null;
    this.#restore(bytes);
  }

  #restore(bytes) {
    const module = this.#live();
    module.withBytes(bytes, (pointer) => module.call("chm_session_restore", this.#session, pointer, bytes.length));
  }

  /** What a generation takes: what the caller gives, else the mode it names, else the bundle's defaults. */
  #withDefaults({ mode, ...given }) {
    const { temperature, top_p, repetition_penalty, max_tokens, exit_threshold, modes = {} } = this.manifest.generation ?? {};
    const own = { temperature, topP: top_p, repetitionPenalty: repetition_penalty, maxTokens: max_tokens, exitThreshold: exit_threshold };
    if (mode !== undefined) {
      if (!Object.hasOwn(modes, mode)) throw errorOf("CHM420", `${unknown("mode", mode)}; ${instead(mode, Object.keys(modes))}`);
      Object.assign(own, { loops: modes[mode].loops, shares: modes[mode].shares });
    }
    const defaults = Object.entries(own).filter(([, value]) => value !== undefined && value !== null);
    return { ...Object.fromEntries(defaults), ...given };
  }

  #configure(options, prompt) {
    const module = this.#live();
    const seed = BigInt(options.seed ?? 0);
    module.call("chm_session_set_loops", this.#session, options.loops ?? 0);
    module.call("chm_session_set_exit_threshold", this.#session, options.exitThreshold ?? 0);
    module.call(
      "chm_session_set_sampling",
      this.#session,
      options.temperature ?? 0,
      options.topP ?? 1,
      options.topK ?? 0,
      options.repetitionPenalty ?? 1,
      Number(seed & 0xffffffffn),
      Number(seed >> 32n),
      options.stream ?? 0,
    );
    useValve(module, this.#session, options.valve === false ? null : this.manifest.generation?.valve);
    useLedger(module, this.#session, this.manifest.generation?.ledger);
    useShares(module, this.#session, options.shares ?? this.manifest.generation?.shares);
    const speculates = module.exports.chm_speculates?.() === 1; // a module of before cannot
    if (options.speculate && !speculates) throw errorOf("CHM421", "the bundle was built without speculation");
    if (options.speculate && options.exitThreshold > 0) throw errorOf("CHM420", "speculation needs a fixed number of loops for all tokens");
    if (speculates) module.call("chm_session_set_speculation", this.#session, options.speculate === false ? 0 : 1);
    if (module.exports.chm_session_set_scoring) module.call("chm_session_set_scoring", this.#session, options.score ? 1 : 0);
    else if (options.score) throw errorOf("CHM414", "the bundle is of a chimerac that counted no scores");
    const grammar = this.#grammars.choose(options.grammar);
    const closing = module.exports.chm_grammar_closing(grammar); // 0 without one
    const { maxTokens = MAX_TOKENS } = options;
    if (closing > maxTokens) throw errorOf("CHM420", `maxTokens is ${maxTokens}; the grammar's shortest text may need ${closing}`);
    module.call("chm_session_set_grammar", this.#session, grammar);
    if (module.exports.chm_grammar_slots?.(grammar)) {
      slotTexts({ lists: this.#named?.lists, ...options }, prompt).forEach((text, slot) => {
        if (!text?.length) module.call("chm_grammar_set_words", grammar, slot, text === null ? 0 : this.#scratch, 0);
        else module.withBytes(text, (pointer) => module.call("chm_grammar_set_words", grammar, slot, pointer, text.length));
      });
    }
    return { maxTokens, closing };
  }

  /**
   * Answer a conversation: messages { role, content }, perhaps one of the system, then of the user and the assistant in
   * turns. If all but the last are those of the call before with the answer (the text of its parts "answer"), only the
   * last is run. Options are generate's, but for reset. Yields { text, token, part }; part: answer, thinking or tool_call.
   */
  async *chat(given, options = {}) {
    this.#needTokens();
    const chat = this.manifest.chat;
    const messages = checkMessages(given, chat);
    checkChatOptions(options);
    const module = this.#live();
    const { items, more } = itemsOf(chat.pieces, messages, this.#held);
    const encode = (text, begins) => encodeText(module, this.#bundle, this.#scratch, checkText(text, "the text"), { specials: false, begins });
    const steps = this.generate(tokensOf(items, encode, !more), { request: messages.at(-1).content, ...options, reset: !more });
    yield* answerParts(chat, steps, (content) => {
      if (this.#cut) return; // the sequence has more than the answer
      const end = this.#finishReason === "stop" ? this.#tokens.at(-1) : undefined;
      this.#held = { messages: [...messages, { role: "assistant", content }], end };
    });
  }

  /**
   * Run a prompt (a text, its bytes as Uint8Array, or token ids) and generate; yields { text, token }, and ends with its
   * result set. token is -1 for text that was left over at the end. `onProgress({ phase, loaded, total })` is told how much
   * of the prompt was run. Aborting `options.signal` throws its reason; the model can be used again.
   */
  async *generate(prompt, given = {}) {
    this.#needTokens();
    const options = this.#withDefaults(checkGenerateOptions(given));
    const checked = checkPrompt(prompt, this.vocabSize);
    const { signal, reset = true } = options;
    signal?.throwIfAborted();
    this.#live();
    this.#held = null;
    this.#cut = false;
    const refusal = refusalFor(this.manifest, options);
    options.score = options.score === true || refusal !== null;
    const { maxTokens, closing } = this.#configure(options, checked);
    this.#finishReason = null;
    this.#score = options.score ? 0 : null;
    this.#refused = false;
    this.#tokens = [];
    this.#usage = { promptTokens: 0, promptMs: 0, generateMs: 0 };
    const begun = performance.now();
    const room = reset ? this.context - (this.#named?.tokens ?? 0) : this.#room();
    const tokens = checked instanceof Uint8Array ? await this.#promptTokens(checked, room === this.context, signal) : checked;
    this.#live(); // it may have been disposed meanwhile
    this.#checkRoom(tokens.length + closing, room);
    if (reset) this.#startSequence();
    await this.#run(tokens, options);
    const ran = performance.now();
    this.#usage = { promptTokens: tokens.length, promptMs: ran - begun, generateMs: 0 };
    this.#live().call("chm_session_begin_generation", this.#session, maxTokens);
    options.onProgress?.({ phase: "generate", loaded: 0, total: Math.min(maxTokens, room - tokens.length) });
    const steps = this.#steps(maxTokens, signal, new StopTexts(options.stop ?? []), ran);
    yield* refusal === null ? steps : unlessRefused(steps, refusal, () => this.#score, () => this.#refuse());
  }

  #refuse() {
    this.#refused = true;
    this.#finishReason = "stop";
  }

  async *#steps(maxTokens, signal, stops, begun) {
    const pause = pauses();
    for (;;) {
      signal?.throwIfAborted();
      const status = this.#live().call("chm_session_generate", this.#session, this.#scratch);
      const token = this.#view(4).getInt32(0, true);
      if (token >= 0) this.#tokens.push(token);
      if (this.#score !== null) this.#score = this.#live().exports.chm_session_score(this.#session);
      const finished = status === FINISHED;
      const text = stops.pass(this.#text(), finished);
      this.#usage.generateMs = performance.now() - begun;
      this.#cut = stops.found;
      if (finished || stops.found) {
        const limited = this.#tokens.length === maxTokens || !this.#room(); // else the grammar allows no more
        this.#finishReason = stops.found || token >= 0 || !limited ? "stop" : "length";
        if (text || token >= 0) yield { text, token };
        return;
      }
      yield { text, token };
      await pause();
    }
  }

  #text() {
    const module = this.#live();
    const pointer = module.exports.chm_session_text(this.#session, this.#scratch + 8);
    return module.text(pointer, module.number(this.#scratch + 8));
  }

  /** Compute the manifest's self-test; throws SelfTestError if anything differs. False if there is none. */
  async selfTest(options = {}) {
    return selfTest(this, checkRunOptions(options));
  }

  /** Give the memory back (all of it when the last reference to the model is gone). */
  dispose() {
    if (!this.#module) return;
    this.#module.exports.chm_session_close(this.#session);
    this.#grammars.close();
    if (this.#bank) this.#module.exports.chm_bank_close(this.#bank);
    this.#module.exports.chm_bundle_close(this.#bundle);
    this.#module.stop();
    this.#module = null;
  }
}
