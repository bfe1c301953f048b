// Numbers of JSON within bounds, multiples of a number, as an automaton over their digits. As Python's frontends/grammar/number_ranges.py.
import { NOTHING, refuse } from "./compiler-characters.mjs";

const WHOLE_DIGITS = 20; // that a number with bounds may have at least, enough for 64 bits
const FRACTION_DIGITS = 15;
const MOST_STATES = 20_000;
const MOST_MULTIPLE = 1000; // of a multipleOf as a whole number, and digits after its point
const MOST_SCALE = 15;

/** A bound's magnitude as digits; `sign` is -1, 0 or 1 for one below, at, or above zero. */
function digitsOf(value) {
  if (value === null) return null;
  if (value < 0) return { sign: -1, whole: "", fraction: "" };
  const [whole, fraction = ""] = String(value).split(".");
  return { sign: value === 0 ? 0 : 1, whole, fraction };
}

function checkBound(value, place) {
  const plain = Number.isSafeInteger(value) || (!Number.isInteger(value) && /^-?[0-9]+\.[0-9]+$/.test(String(value)));
  if (!plain) refuse(`${place}: the bound ${value}`);
}

const divisor = (a, b) => (b ? divisor(b, a % b) : a);

/** Multiples of a number as those of `count` · 10^-`scale`; of whole numbers, which are those of 1, where `integer` says so; null: any. */
function stepOf(multiple, integer, place) {
  if (multiple === null) return integer ? { count: 1, scale: 0 } : null;
  const [, whole, fraction = ""] = /^(\d+)(?:\.(\d+))?$/.exec(String(multiple)) ?? [];
  const step = { count: Number(`${whole}${fraction}`), scale: fraction.length };
  const own = integer ? { count: step.count / divisor(step.count, 10 ** step.scale), scale: 0 } : step;
  if (whole === undefined || step.scale > MOST_SCALE || own.count > MOST_MULTIPLE) refuse(`${place}: multiples of ${multiple}`);
  return own;
}

const negated = ({ low, high, lowOpen, highOpen }) => ({
  low: high === null ? null : -high, high: low === null ? null : -low, lowOpen: highOpen, highOpen: lowOpen,
});

function compared(before, bound, at, digit) {
  if (!bound || before || bound.sign < 0) return before;
  const digits = at.part === "whole" ? bound.whole : bound.fraction;
  if (at.digits >= digits.length) return at.part === "whole" || digit === 0 ? before : 1;
  return Math.sign(digit - Number(digits[at.digits]));
}

/** How the whole part compares with a bound's, now that its number of digits is known. */
function settled(before, bound, digits) {
  if (!bound) return 0;
  if (bound.sign < 0) return 1;
  return digits === bound.whole.length ? before : digits > bound.whole.length ? 1 : -1;
}

class Numbers {
  constructor(bounds, step) {
    this.bounds = [bounds, negated(bounds)]; // of numbers, and of magnitudes of negative ones
    this.sides = this.bounds.map(({ low, high }) => [digitsOf(low), digitsOf(high)]);
    const edges = this.sides.flat().filter(Boolean);
    const longest = Math.max(0, ...edges.map(({ whole }) => whole.length));
    this.step = step;
    this.mostWhole = Math.max(WHOLE_DIGITS, longest + 1);
    // more digits than those of the bounds decide nothing; remainders would make too many states of them
    this.told = edges.length && (!step || step.count === 1) ? this.mostWhole : longest + 1;
    this.mostFraction = Math.max(FRACTION_DIGITS, ...edges.map(({ fraction }) => fraction.length + 1));
    if (step) this.mostFraction = step.scale || step.count > 1 ? step.scale : 1;
  }

  begin = { part: "sign", negative: 0, digits: 0, low: 0, high: 0, remainder: 0, zero: false };

  moves(at) {
    const found = [];
    if (at.part === "sign" && !at.negative) found.push([0x2d, { ...this.begin, negative: 1 }]);
    const from = at.part === "sign" ? { ...at, part: "whole" } : at;
    for (let digit = 0; digit < 10; digit += 1) {
      const next = from.part === "whole" ? this.#whole(from, digit) : this.#fraction(from, digit);
      if (next) found.push([0x30 + digit, next]);
    }
    if (from.part === "whole" && from.digits) {
      const [low, high] = this.#settled(from);
      found.push([0x2e, { ...from, part: "fraction", digits: 0, low, high }]);
    }
    return found;
  }

  #compare(at, digit) {
    const [low, high] = this.sides[at.negative];
    return { low: compared(at.low, low, at, digit), high: compared(at.high, high, at, digit) };
  }

  #settled(at) {
    const [low, high] = this.sides[at.negative];
    return [settled(at.low, low, at.digits), settled(at.high, high, at.digits)];
  }

  #whole(at, digit) {
    const above = this.sides[at.negative][1];
    const tooLarge = above && (above.sign < 0 || at.digits >= above.whole.length);
    if (at.zero || tooLarge || at.digits >= this.mostWhole) return null;
    const remainder = this.step ? (10 * at.remainder + digit) % this.step.count : 0;
    return { ...at, ...this.#compare(at, digit), digits: Math.min(at.digits + 1, this.told), remainder, zero: at.digits === 0 && digit === 0 };
  }

  #fraction(at, digit) {
    const inside = this.step && at.digits < this.step.scale;
    if (at.digits >= this.mostFraction || (this.step && !inside && digit)) return null;
    const remainder = inside ? (10 * at.remainder + digit) % this.step.count : at.remainder;
    return { ...at, ...this.#compare(at, digit), digits: at.digits + 1, remainder };
  }

  #divides(at) {
    let rest = at.remainder;
    for (let left = (this.step?.scale ?? 0) - (at.part === "fraction" ? at.digits : 0); left > 0; left -= 1) rest = (10 * rest) % this.step.count;
    return !this.step || rest % this.step.count === 0;
  }

  final(at) {
    if (at.part === "sign" || at.digits === 0 || !this.#divides(at)) return false;
    const { low, high, lowOpen, highOpen } = this.bounds[at.negative];
    const done = at.part === "whole" ? 0 : at.digits;
    const values = at.part === "whole" ? this.#settled(at) : [at.low, at.high];
    const [below, above] = values.map((value, i) => (value === 0 && /[1-9]/.test(this.sides[at.negative][i]?.fraction.slice(done) ?? "") ? -1 : value));
    return (low === null || below > 0 || (below === 0 && !lowOpen)) && (high === null || above < 0 || (above === 0 && !highOpen));
  }
}

/** The texts of numbers within { low, high, lowOpen, highOpen }, multiples of `multiple` or null, without exponents; whole ones may end with ".0" but for those. Found in steps. */
export function* boundedNumber(bounds, multiple, integer, place) {
  for (const bound of [bounds.low, bounds.high]) if (bound !== null) checkBound(bound, place);
  const numbers = new Numbers(bounds, stepOf(multiple, integer, place));
  const keyOf = ({ part, negative, digits, low, high, remainder, zero }) => `${part}${negative} ${digits} ${low} ${high} ${remainder} ${zero}`;
  const known = new Map([[keyOf(numbers.begin), 0]]);
  const order = [numbers.begin];
  const moves = [];
  for (const at of order) {
    moves.push(numbers.moves(at).map(([byte, next]) => {
      const key = keyOf(next);
      if (!known.has(key)) known.set(key, order.push(next) - 1);
      return [byte, known.get(key)];
    }));
    if (order.length > MOST_STATES) refuse(`${place}: bounds of so many digits`);
    yield;
  }
  return alive(moves, order.map((at) => numbers.final(at)));
}

/** The automaton without dead ends. */
function alive(moves, final) {
  const live = [...final];
  for (let changed = true; changed;) {
    changed = false;
    for (let state = moves.length - 1; state >= 0; state -= 1) {
      if (live[state] || !moves[state].some(([, target]) => live[target])) continue;
      live[state] = true;
      changed = true;
    }
  }
  if (!live[0]) return NOTHING;
  return { kind: "graph", moves: moves.map((row) => row.filter(([, target]) => live[target])), final };
}
