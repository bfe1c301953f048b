// Alternatives of schemas without those that others hold already. A counted part that begins like another one cannot be told from it by its
// first byte, so most schemas whose alternatives overlap would be refused as they are written.
import { choice } from "./compiler-characters.mjs";
import { ANY_ARRAY, ANY_OBJECT, ANY_STRING, countedString, lengthsOf } from "./compiler-json.mjs";

const WHOLE = new Map([[0x22, ANY_STRING], [0x5b, ANY_ARRAY], [0x7b, ANY_OBJECT]]); // by the first byte of all their texts
const decoder = new TextDecoder();

/** The byte that all texts of an expression begin with; undefined where that is not plain to see. */
function firstByte(expression) {
  switch (expression?.kind) {
    case "literal": return expression.data[0];
    case "sequence": return firstByte(expression.parts[0]);
    case "counted": return firstByte(expression.opening);
    case "rule": return firstByte(expression.expression);
    default: return undefined;
  }
}

/** [fewest, most] characters of a string of fixed or counted length, or null. */
function boundsOf(expression) {
  if (expression.kind !== "literal" || expression.data[0] !== 0x22) return lengthsOf(expression);
  const text = JSON.parse(decoder.decode(Uint8Array.from(expression.data)));
  return /\p{Surrogate}/u.test(text) ? null : [[...text].length, [...text].length];
}

/** Strings of counted lengths: those of lengths that meet are one, and constants within them go. */
function withLengths(options) {
  const counted = options.filter((option) => lengthsOf(option)).map((option) => boundsOf(option)).sort(([a], [b]) => a - b);
  const joined = [];
  for (const [fewest, most] of counted) {
    const last = joined.at(-1);
    if (last && fewest <= last[1] + 1) last[1] = Math.max(last[1], most);
    else joined.push([fewest, most]);
  }
  if (!joined.length || joined.some(([fewest, most]) => fewest === 0 && most === Infinity)) return options; // surrogates that stand alone are in no counted string
  const held = (option) => lengthsOf(option) || joined.some(([fewest, most]) => boundsOf(option)?.every((length) => fewest <= length && length <= most));
  return [...options.filter((option) => !held(option)), ...joined.map(([fewest, most]) => countedString(fewest, most))];
}

/** The texts that any of the expressions has. */
export function united(expressions) {
  const whole = choice(expressions);
  if (whole.kind !== "choice") return whole;
  const every = [...new Set(whole.options)];
  const held = (option) => [...WHOLE].some(([byte, all]) => option !== all && every.includes(all) && firstByte(option) === byte);
  return choice(withLengths(every.filter((option) => !held(option))));
}
