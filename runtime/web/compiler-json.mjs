// JSON as text: expressions for its strings, numbers, whitespace, and values of any kind. As Python's frontends/grammar/json_text.py.
import { ALL, EMPTY, byteIn, choice, counted, intersection, inverted, literal, oneOf, optional, refuse, repeat, ruleOf, sequence, setOf, single, star, utf8 } from "./compiler-characters.mjs";

const PLAIN = intersection(ALL, inverted(setOf([[0, 0x1f], [0x22, 0x22], [0x5c, 0x5c]])));
const PLAIN_ASCII = intersection(PLAIN, [[0, 0x7f]]);
const SHORT = new Map([[8, "\\b"], [9, "\\t"], [10, "\\n"], [12, "\\f"], [13, "\\r"], [0x22, '\\"'], [0x5c, "\\\\"]]);
const HEX = oneOf("0123456789abcdefABCDEF");
const DIGIT = oneOf("0123456789");
const ESCAPE_SIGNS = oneOf('"\\/bfnrt');

export const SPACES = star(oneOf(" \t\r\n", true));
export const QUOTE = literal('"');
export const COMMA = sequence(literal(","), SPACES);
export const COLON = sequence(SPACES, literal(":"), SPACES);
/** One character of a string, in any spelling; a surrogate may stand alone, as RFC 8259 allows. */
const CHARACTER = choice([utf8(PLAIN), sequence(literal("\\"), choice([ESCAPE_SIGNS, sequence(literal("u"), HEX, HEX, HEX, HEX)]))]);
const UNIT = choice([sequence(oneOf("0123456789abcefABCEF"), HEX, HEX, HEX), sequence(oneOf("dD"), oneOf("01234567"), HEX, HEX)]);
const HIGH = sequence(oneOf("dD"), oneOf("89abAB"), HEX, HEX);
const LOW = sequence(oneOf("dD"), oneOf("cdefCDEF"), HEX, HEX);
/** One character, counted as one: a pair of surrogates is one, a lone surrogate is none. */
const WHOLE_CHARACTER = choice([
  utf8(PLAIN), sequence(literal("\\"), ESCAPE_SIGNS), sequence(literal("\\u"), choice([UNIT, sequence(HIGH, literal("\\u"), LOW)])),
]);
const STRING_REST = ruleOf(sequence(star(CHARACTER), QUOTE));
const WIDE_REST = ruleOf(sequence(utf8([[0x80, 0xd7ff], [0xe000, 0x10ffff]]), STRING_REST));

const DIGITS = repeat(DIGIT, 1);
export const INTEGER = sequence(optional(literal("-")), choice([literal("0"), sequence(oneOf("123456789"), star(DIGIT))]));
export const NUMBER = sequence(
  INTEGER, optional(sequence(literal("."), DIGITS)), optional(sequence(oneOf("eE"), optional(oneOf("+-")), DIGITS)),
);
export const BOOLEAN = choice([literal("true"), literal("false")]);
export const NULL = literal("null");

export const ANY_STRING = ruleOf(sequence(QUOTE, star(CHARACTER), QUOTE), true, 4);
export const ANY_OBJECT = ruleOf(null, true, 17);
export const ANY_ARRAY = ruleOf(null, true, 18);
export const ANY = choice([ANY_OBJECT, ANY_ARRAY, ANY_STRING, NUMBER, BOOLEAN, NULL]);
const PAIR = sequence(ANY_STRING, COLON, ANY, SPACES);

const listed = (opening, item, closing) => sequence(literal(opening), SPACES, optional(sequence(item, star(sequence(COMMA, item)))), literal(closing));
ANY_OBJECT.expression = listed("{", PAIR, "}");
ANY_ARRAY.expression = listed("[", sequence(ANY, SPACES), "]");

const countedStrings = new Map(); // equal ones are one machine
const lengths = new Map(); // counted string → its bounds

/** [fewest, most] characters of what countedString() gave, undefined of anything else. */
export const lengthsOf = (expression) => lengths.get(expression);

/** A string of so many characters, in any spelling. */
export function countedString(minimum, maximum) {
  if (maximum === 0) return literal('""');
  const key = `${minimum} ${maximum}`;
  if (!countedStrings.has(key)) {
    countedStrings.set(key, counted(QUOTE, WHOLE_CHARACTER, EMPTY, QUOTE, minimum, maximum));
    lengths.set(countedStrings.get(key), [minimum, maximum]);
  }
  return countedStrings.get(key);
}

/** One character of a set inside a string, in the shortest spelling JSON has for it. */
export function encode(set) {
  const plain = intersection(set, PLAIN);
  const options = plain.length ? [utf8(plain)] : [];
  for (const [first, last] of intersection(set, inverted(PLAIN))) {
    for (let point = first; point <= last; point += 1) {
      const low = (point & 15).toString(16);
      options.push(SHORT.has(point) ? literal(SHORT.get(point)) : sequence(literal(`\\u00${point >> 4}`), oneOf(low + low.toUpperCase())));
    }
  }
  return choice(options);
}

const MOST_EXACT_EXPONENT = 1e-4; // smaller ones Python writes otherwise

/** The texts of a fixed value: strings in their shortest spelling, whitespace free, whole numbers with or without ".0". */
export function fixedValue(value, place) {
  if (typeof value === "string") return literal(JSON.stringify(value));
  if (typeof value === "boolean" || value === null) return literal(String(value));
  if (typeof value === "number") {
    if (Number.isSafeInteger(value)) return sequence(literal(String(value)), optional(literal(".0"))); // -0 is "0"
    if (!Number.isFinite(value) || Number.isInteger(value) || Math.abs(value) < MOST_EXACT_EXPONENT) refuse(`${place}: the number ${value}`);
    return literal(String(value));
  }
  const isList = Array.isArray(value);
  const items = isList
    ? value.map((item) => fixedValue(item, place))
    : Object.entries(value).map(([key, item]) => sequence(literal(JSON.stringify(key)), COLON, fixedValue(item, place)));
  const parts = items.flatMap((item, i) => [i ? COMMA : EMPTY, item, SPACES]);
  return sequence(literal(isList ? "[" : "{"), SPACES, ...parts, literal(isList ? "]" : "}"));
}

// ---- keys ----

/** A key that is none of some names; up to where it differs from all of them it is in its shortest spelling, or all of it where
 * names are not plain ASCII; found in steps. */
export function* otherKey(names) {
  const simple = names.every((name) => /^[ -~]*$/.test(name));
  return sequence(QUOTE, yield* (simple ? differing : differingPoints)(names.map((name) => [...name].map((one) => one.codePointAt(0))), 0));
}

/** Names, lists of code points, by the one at a depth; those that end before it are left out. */
function grouped(names, depth) {
  const found = new Map();
  for (const name of names.filter((one) => one.length > depth)) found.set(name[depth], [...(found.get(name[depth]) ?? []), name]);
  return found;
}

/** The end of a key after what it shares with names, which have any characters. */
function* differingPoints(names, depth) {
  yield;
  const taken = grouped(names, depth);
  const options = names.some((name) => name.length === depth) ? [] : [QUOTE];
  options.push(sequence(encode(inverted(single(...taken.keys()))), star(encode(ALL)), QUOTE));
  for (const [point, members] of taken) options.push(sequence(encode(single(point)), yield* differingPoints(members, depth + 1)));
  return choice(options);
}

function* differing(names, depth) {
  yield;
  const taken = grouped(names, depth);
  const options = names.some((name) => name.length === depth) ? [] : [QUOTE];
  options.push(sequence(byteIn(intersection(PLAIN_ASCII, inverted(single(...taken.keys())))), STRING_REST), WIDE_REST);
  // an escape is another character than a name's next one, unless that needs an escape itself
  const escapes = [...'"\\bfnrt'].filter((sign) => ![...taken.keys()].some((byte) => SHORT.get(byte)?.[1] === sign));
  options.push(sequence(literal("\\"), oneOf(escapes.join("")), STRING_REST));
  for (const [byte, members] of taken) options.push(sequence(literal(SHORT.get(byte) ?? String.fromCharCode(byte)), yield* differing(members, depth + 1)));
  return choice(options);
}
