// Sets of characters, as ascending ranges [first, last] of code points, and expressions over bytes of what they are in UTF-8.
// Python's frontends/grammar/characters.py and compiler/ir/grammar.py have the same.

/** What is not compiled here; compiler.mjs makes the error of it. */
export class Refusal extends Error {}

export const refuse = (message) => { throw new Refusal(message); };

const LAST = 0x10ffff;
export const ALL = [[0, 0xd7ff], [0xe000, LAST]];

const withoutSurrogates = (ranges) => (ranges.length && ranges.at(-1)[1] >= 0xd800 ? intersection(ranges, ALL) : ranges);

/** Ranges in any order, joined. */
export function setOf(ranges) {
  const joined = [];
  let before = null;
  for (const range of ranges.length > 1 ? [...ranges].sort((a, b) => a[0] - b[0]) : ranges) {
    if (before && range[0] <= before[1] + 1) before[1] = Math.max(before[1], range[1]);
    else joined.push(before = [range[0], range[1]]);
  }
  return withoutSurrogates(joined);
}

export const single = (...points) => setOf(points.map((point) => [point, point]));

export function inverted(set) {
  const found = [];
  let position = 0;
  for (const range of set) {
    if (range[0] > position) found.push([position, range[0] - 1]);
    position = range[1] + 1;
  }
  if (position <= LAST) found.push([position, LAST]);
  return withoutSurrogates(found);
}

export function intersection(left, right) {
  const found = [];
  for (let i = 0, j = 0; i < left.length && j < right.length;) {
    const first = Math.max(left[i][0], right[j][0]);
    const last = Math.min(left[i][1], right[j][1]);
    if (first <= last) found.push([first, last]);
    if (left[i][1] < right[j][1]) i += 1;
    else j += 1;
  }
  return found;
}

// ---- expressions ----

const encoder = new TextEncoder();
export const NOTHING = { kind: "choice", options: [] };
export const EMPTY = { kind: "sequence", parts: [] };
export const literal = (text) => ({ kind: "literal", data: [...encoder.encode(text)] });
/** One byte in any of some ranges; `space` makes it optional whitespace, which is capped. */
export const byteIn = (ranges, space = false) => ({ kind: "bytes", ranges, space });
export const oneOf = (signs, space = false) => byteIn(setOf([...encoder.encode(signs)].map((byte) => [byte, byte])), space);
export const sequence = (...parts) => ({ kind: "sequence", parts: parts.flatMap((part) => (part.kind === "sequence" ? part.parts : [part])) });
export const repeat = (item, minimum, maximum = Infinity) => ({ kind: "repeat", item, minimum, maximum });
export const optional = (item) => repeat(item, 0, 1);
export const star = (item) => repeat(item, 0);

export function choice(options) {
  const flat = options.flatMap((option) => (option.kind === "choice" ? option.options : [option]));
  return flat.length === 1 ? flat[0] : flat.length ? { kind: "choice", options: flat } : NOTHING;
}

/** An expression of its own, which may be in itself; `called` gives it a frame of the stack, of a kind (docs/fstpack.md). */
export const ruleOf = (expression = null, called = false, frame = 0) => ({ kind: "rule", expression, called, frame });

/** `opening (item (separator item)*)? closing` with a counter of items, in a frame of its own. */
export const counted = (opening, item, separator, closing, minimum, maximum) => ({ kind: "counted", opening, item, separator, closing, minimum, maximum });

function bytesOf(point) {
  return [...encoder.encode(String.fromCodePoint(point))];
}

/** Split a range of code points so that each part is a product of ranges of bytes. */
function split(first, last, paths) {
  for (const bound of [0x7f, 0x7ff, 0xffff]) {
    if (first <= bound && bound < last) {
      split(first, bound, paths);
      split(bound + 1, last, paths);
      return;
    }
  }
  for (const shift of last > 0x7f ? [6, 12, 18] : []) {
    const low = 2 ** shift - 1;
    if ((first & ~low) === (last & ~low)) continue;
    const middle = first & low ? (first | low) + 1 : (last & low) !== low ? last & ~low : 0;
    if (middle) {
      split(first, middle - 1, paths);
      split(middle, last, paths);
      return;
    }
  }
  const right = bytesOf(last);
  paths.push(bytesOf(first).map((byte, i) => [byte, right[i]]));
}

/** Paths as a choice by the first byte, first bytes with the same rest together. */
function tree(paths) {
  const rests = new Map();
  for (const [head, ...rest] of paths) {
    const key = String(head);
    if (!rests.has(key)) rests.set(key, { head, tails: [] });
    rests.get(key).tails.push(rest);
  }
  const heads = new Map();
  for (const { head, tails } of rests.values()) {
    const key = JSON.stringify(tails);
    if (!heads.has(key)) heads.set(key, { leads: [], tails });
    heads.get(key).leads.push(head);
  }
  return choice([...heads.values()].map(({ leads, tails }) => (tails[0].length ? sequence(byteIn(leads), tree(tails)) : byteIn(leads))));
}

/** One character of a set, as UTF-8. */
export function utf8(set) {
  if (set.length && set.at(-1)[1] < 0x80) return byteIn(set);
  const paths = [];
  for (const [first, last] of set) split(first, last, paths);
  return paths.length ? tree(paths) : NOTHING;
}
