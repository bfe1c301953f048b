// Answers that are too unlikely for their bundle, in whose place its refusal is given. Python's runtime/sessions/stepping.py has the same.

/** What a generation is held to, or null: it is of the grammar that the bundle was judged with. */
export const refusalFor = (manifest, { refuse = true, grammar }) => (refuse && grammar === undefined ? manifest.refusal ?? null : null);

/** The same pieces, but the last has all of the text; ends with the refusal as soon as nothing else can come. */
export async function* unlessRefused(steps, { threshold, temperature, answer }, score, refuse) {
  let text = "";
  let before = null;
  for await (const piece of steps) {
    text += piece.text;
    if (before !== null) yield { text: "", token: before };
    before = piece.token;
    if (Math.exp(score() / temperature) < threshold) {
      refuse();
      yield { text: answer, token: before };
      return;
    }
  }
  if (before !== null) yield { text, token: before };
}
