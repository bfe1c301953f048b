// Long work in slices, so that the event loop gets its turn: a page stays smooth, and an abort acts within a slice.

const SLICE_MS = 12; // of many short steps
const PROMPT_MS = 20; // of a prompt's tokens in one call
const ALIGNMENT = 64; // a call that crosses no multiple of it in vain costs least: blocks of models divide it
const BLOCK = 16; // of most models
const LEAST = 4; // tokens that share the reading of weights: alone, each takes longer
const LEAST_MS = 60; // that they may take together; of a larger model fewer run in a call, as an abort waits for its end
const FIRST_BYTES = 16 << 20; // of weights; a model with as many runs ALIGNMENT tokens in about PROMPT_MS
const MOST = 4096; // tokens of a call
const GROWTH = 2; // times the last call: later tokens take longer where time is spent on the text before them
const FURTHER = 4 * ALIGNMENT; // tokens beyond twice the last call's end: a text was restored, and what it took tells nothing

/** A promise of the next turn: a task of its own, after what has happened meanwhile (clicks, messages, timers). */
export const nextTask = (() => {
  if (typeof setImmediate === "function") return () => new Promise((resolve) => { setImmediate(resolve); });
  const channel = new MessageChannel(); // unlike timers, messages are not held back for 4 ms
  const waiting = [];
  channel.port1.onmessage = () => waiting.shift()();
  return () => new Promise((resolve) => { waiting.push(resolve); channel.port2.postMessage(0); });
})();

/** Let the event loop have its turn, but not more often than every few milliseconds: `await pause()` after each step. */
export function pauses() {
  let end = performance.now() + SLICE_MS;
  return async () => {
    if (performance.now() < end) return;
    await nextTask();
    end = performance.now() + SLICE_MS;
  };
}

/**
 * What the generator `steps` returns: it is run in slices, and yields wherever one may end. Aborting `signal` throws its reason; `late()` is
 * called, and throws, where the slices together have taken more than `most` milliseconds.
 */
export async function inSlices(steps, { signal, most = Infinity, late }) {
  for (let taken = 0; ;) {
    signal?.throwIfAborted();
    const begun = performance.now();
    let step = steps.next();
    while (!step.done && performance.now() - begun < SLICE_MS) step = steps.next();
    if (step.done) return step.value;
    taken += performance.now() - begun;
    if (taken > most) late();
    await nextTask();
  }
}

/** Tokens to run in a call at least, where one of them takes so many milliseconds. */
const leastOf = (each) => Math.max(1, Math.min(LEAST, Math.floor(LEAST_MS / each)));

/** How many tokens of a prompt to run in a call, learned from what the last ones took. The numbers do not depend on it. */
export class Slices {
  #count;
  #end = 0;
  #least; // tokens of a call

  constructor(weightBytes) {
    this.#count = Math.min(ALIGNMENT, (ALIGNMENT * FIRST_BYTES) / Math.max(1, weightBytes));
    this.#least = leastOf(PROMPT_MS / this.#count);
  }

  /** Tokens to run from a position on, at least 1 of those that are left. */
  next(position, left) {
    if (position > 2 * this.#end + FURTHER) this.#count = 0;
    const end = position + Math.max(this.#least, Math.floor(this.#count));
    const multiple = [ALIGNMENT, BLOCK, LEAST, 1].find((size) => Math.floor(end / size) > Math.floor(position / size));
    const count = Math.min(left, end - (end % multiple) - position);
    this.#end = position + count;
    return count;
  }

  /** What a call of so many tokens took. */
  took(count, milliseconds) {
    const each = Math.max(milliseconds, 1e-3) / count;
    const fitting = PROMPT_MS / each;
    this.#least = leastOf(each);
    this.#count = Math.min(fitting, GROWTH * Math.max(count, this.#count), MOST);
  }
}
