// Numbers of JSON within bounds, as an automaton over their digits. As Python's frontends/grammar/number_ranges.py, without multipleOf.
import { NOTHING, refuse } from "./compiler-characters.mjs";

const WHOLE_DIGITS = 20; // that a number with bounds may have at least, enough for 64 bits
const FRACTION_DIGITS = 15;
const MOST_STATES = 20_000;

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
  constructor(bounds, integer) {
    this.bounds = [bounds, negated(bounds)]; // of numbers, and of magnitudes of negative ones
    this.sides = this.bounds.map(({ low, high }) => [digitsOf(low), digitsOf(high)]);
    const edges = this.sides.flat().filter(Boolean);
    this.mostWhole = Math.max(WHOLE_DIGITS, ...edges.map(({ whole }) => whole.length + 1));
    this.mostFraction = integer ? 1 : Math.max(FRACTION_DIGITS, ...edges.map(({ fraction }) => fraction.length + 1));
    this.integer = integer;
  }

  begin = { part: "sign", negative: 0, digits: 0, low: 0, high: 0, zero: false };

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
    return { ...at, ...this.#compare(at, digit), digits: at.digits + 1, zero: at.digits === 0 && digit === 0 };
  }

  #fraction(at, digit) {
    if (at.digits >= this.mostFraction || (this.integer && digit)) return null;
    return { ...at, ...this.#compare(at, digit), digits: at.digits + 1 };
  }

  final(at) {
    if (at.part === "sign" || at.digits === 0) return false;
    const { low, high, lowOpen, highOpen } = this.bounds[at.negative];
    const done = at.part === "whole" ? 0 : at.digits;
    const values = at.part === "whole" ? this.#settled(at) : [at.low, at.high];
    const [below, above] = values.map((value, i) => (value === 0 && /[1-9]/.test(this.sides[at.negative][i]?.fraction.slice(done) ?? "") ? -1 : value));
    return (low === null || below > 0 || (below === 0 && !lowOpen)) && (high === null || above < 0 || (above === 0 && !highOpen));
  }
}

/** The texts of numbers within { low, high, lowOpen, highOpen }, without exponents; whole ones may end with ".0". */
export function boundedNumber(bounds, integer, place) {
  for (const bound of [bounds.low, bounds.high]) if (bound !== null) checkBound(bound, place);
  const numbers = new Numbers(bounds, integer);
  const known = new Map([[JSON.stringify(numbers.begin), 0]]);
  const order = [numbers.begin];
  const moves = [];
  for (const at of order) {
    moves.push(numbers.moves(at).map(([byte, next]) => {
      const key = JSON.stringify(next);
      if (!known.has(key)) known.set(key, order.push(next) - 1);
      return [byte, byte, known.get(key)];
    }));
    if (order.length > MOST_STATES) refuse(`${place}: bounds of so many digits`);
  }
  return alive(moves, order.map((at) => numbers.final(at)));
}

/** The automaton without dead ends. */
function alive(moves, final) {
  const live = [...final];
  for (let changed = true; changed;) {
    changed = false;
    for (let state = moves.length - 1; state >= 0; state -= 1) {
      if (live[state] || !moves[state].some(([, , target]) => live[target])) continue;
      live[state] = true;
      changed = true;
    }
  }
  if (!live[0]) return NOTHING;
  return { kind: "graph", moves: moves.map((row) => row.filter(([, , target]) => live[target])), final };
}
