// Texts at which a generation ends. What may be the beginning of one is held back until it is known.

export class StopTexts {
  #texts;
  #held = "";
  found = false;

  constructor(texts) {
    this.#texts = texts;
  }

  /** What of the text so far may be shown; all of it when it is the last. */
  pass(text, last) {
    if (!this.#texts.length) return text;
    const whole = this.#held + text;
    const places = this.#texts.map((stop) => whole.indexOf(stop)).filter((place) => place >= 0);
    if (places.length) {
      this.found = true;
      return whole.slice(0, Math.min(...places));
    }
    const keep = last ? 0 : Math.max(...this.#texts.map((stop) => overlap(whole, stop)));
    this.#held = whole.slice(whole.length - keep);
    return whole.slice(0, whole.length - keep);
  }
}

/** Length of the longest end of a text with which a stop text begins. */
function overlap(text, stop) {
  for (let size = Math.min(text.length, stop.length - 1); size > 0; size -= 1) if (text.endsWith(stop.slice(0, size))) return size;
  return 0;
}
