// A generation that is iterated over, and what it came to.

/** Generations that nobody refers to any more, which then have the model no longer. */
const abandoned = new FinalizationRegistry((end) => end());

const asyncDispose = Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose");

/** What a generation came to; made: finishReason, score, refused, speculation, diagnostics, promptTokens, promptMs, generateMs, as far as they are known. */
export function resultOf(text, tokens, { finishReason = null, score = null, refused = false, speculation = null, diagnostics = null, promptTokens = 0, promptMs = 0, generateMs = 0 }) {
  const usage = { promptTokens, completionTokens: tokens.length, totalTokens: promptTokens + tokens.length };
  return { text, tokens: Int32Array.from(tokens), finishReason, score, refused, speculation, diagnostics, usage, promptMs, generateMs };
}

/** An async iterator of pieces; `result` is a promise of what they came to. */
export class Generation {
  #steps;
  #settle;
  #text = "";
  #tokens = [];
  #seen;

  /** steps: an async generator that returns what was made; seen: the same as far as it is known; end(): gives the model back. */
  constructor(steps, seen, end) {
    this.result = new Promise((resolve, reject) => { this.#settle = { resolve, reject }; });
    this.result.catch(() => {}); // who iterates is told already
    this.#steps = steps;
    this.#seen = seen;
    abandoned.register(this, end);
  }

  async next() {
    try {
      const step = await this.#steps.next();
      if (step.done) this.#finish(step.value);
      else {
        this.#text += step.value.text;
        if (step.value.token >= 0) this.#tokens.push(step.value.token);
      }
      return step;
    } catch (error) {
      this.#settle.reject(error);
      throw error;
    }
  }

  #finish(made) {
    this.#settle.resolve(resultOf(this.#text, this.#tokens, made ?? this.#seen));
  }

  async return(value) {
    const step = await this.#steps.return(value);
    this.#finish();
    return step;
  }

  async throw(error) {
    await this.return();
    throw error;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  async [asyncDispose]() {
    await this.return();
  }
}
