// Regular expressions of two dialects, "python" (re) and "ecma" (JSON Schema), as expressions over bytes. As Python's
// frontends/grammar/regex*.py, without look-around, anchors inside, flags, \p and \N.
import { PYTHON_DIGITS, PYTHON_WORD } from "./compiler-classes.mjs";
import { ALL, EMPTY, choice, inverted, refuse, repeat, sequence, setOf, single, star } from "./compiler-characters.mjs";

const MOST_CHARACTERS = 1 << 16;
const MOST_REPETITIONS = 65_534;
const MOST_DEPTH = 256;
const CONTROLS = { n: 10, r: 13, t: 9, f: 12, v: 11 };
const SPACE = [[9, 13], [32, 32], [0xa0, 0xa0], [0x1680, 0x1680], [0x2000, 0x200a], [0x2028, 0x2029], [0x202f, 0x202f], [0x205f, 0x205f], [0x3000, 0x3000]];
const CATEGORIES = {
  ecma: { d: [[48, 57]], w: [[48, 57], [65, 90], [95, 95], [97, 122]], s: setOf([...SPACE, [0xfeff, 0xfeff]]) },
  python: { d: PYTHON_DIGITS, w: PYTHON_WORD, s: setOf([...SPACE, [28, 31], [0x85, 0x85]]) },
};
const LINE_ENDS = { python: single(10), ecma: single(10, 13, 0x2028, 0x2029) };
const BOUNDS = /\{([0-9]*)(?:(,)([0-9]*))?\}/y;
const NAME = /\(\?P?<([A-Za-z_][A-Za-z0-9_]*)>/y;
const pointOf = (sign) => sign.codePointAt(0);

class Parser {
  position = 0;
  #depth = 0;
  #names = new Set();
  #loose = false; // whether something stands that ECMAScript takes only without its flag u
  #strict = false; // whether something stands that means something else without that flag

  constructor(text, dialect) {
    this.signs = [...text];
    this.dialect = dialect;
    if (text.length > MOST_CHARACTERS) refuse("a regular expression of more than 64 KiB");
    if (/\p{Surrogate}/u.test(text)) refuse("a surrogate that stands alone");
  }

  no(what, at = this.position) {
    refuse(`regular expression, column ${at + 1}: ${what}`);
  }

  peek(ahead = 0) {
    return this.signs[this.position + ahead] ?? "";
  }

  take(expected) {
    const found = [...expected].every((sign, i) => this.peek(i) === sign);
    if (found) this.position += expected.length;
    return found;
  }

  match(pattern) {
    const rest = this.signs.slice(this.position, this.position + 64).join("");
    pattern.lastIndex = 0;
    return pattern.exec(rest);
  }

  whole() {
    const found = this.either();
    if (this.peek()) this.no("a ) without a (");
    if (this.dialect === "ecma" && this.#loose && this.#strict) this.no("what has two meanings in ECMAScript");
    return found;
  }

  either() {
    const options = [this.join()];
    while (this.take("|")) options.push(this.join());
    return options.length === 1 ? options[0] : { type: "either", options };
  }

  join() {
    const parts = [];
    let repeated = false;
    while (this.peek() && !"|)".includes(this.peek())) {
      const bounds = this.bounds();
      if (!bounds) {
        parts.push(this.atom());
        repeated = false;
        continue;
      }
      if (!parts.length || repeated || parts.at(-1).type === "anchor") this.no("a repetition here", this.position - 1);
      if (this.dialect === "python" && this.peek() === "+") this.no("a possessive repetition");
      this.take("?"); // shortest first: the whole text is matched, so it is the same
      parts.push({ type: "times", item: parts.pop(), ...bounds });
      repeated = true;
    }
    return parts.length === 1 ? parts[0] : { type: "join", parts };
  }

  bounds() {
    const simple = { "*": [0, Infinity], "+": [1, Infinity], "?": [0, 1] }[this.peek()];
    if (simple) {
      this.position += 1;
      return { minimum: simple[0], maximum: simple[1] };
    }
    const found = this.peek() === "{" ? this.match(BOUNDS) : null;
    if (this.match(/\{[0-9,]{60}/y)) this.no("these bounds");
    if (!found || found[0] === "{}" || (!found[1] && this.dialect === "ecma")) return null;
    const minimum = Number(found[1]);
    const maximum = !found[2] ? minimum : found[3] ? Number(found[3]) : Infinity;
    if (minimum > maximum || minimum > MOST_REPETITIONS || (maximum > MOST_REPETITIONS && maximum < Infinity)) this.no("these bounds");
    this.position += found[0].length;
    return { minimum, maximum };
  }

  atom() {
    const sign = this.peek();
    if (sign === "(") return this.group();
    if (sign === "[") return { type: "set", set: this.brackets() };
    if (sign === "\\") return this.escape();
    this.position += 1;
    if (sign === ".") return { type: "set", set: inverted(LINE_ENDS[this.dialect]) };
    if (sign === "^") return { type: "anchor", end: false, sign };
    if (sign === "$") return { type: "anchor", end: true, sign: this.dialect === "python" ? "n" : sign };
    if ("]{}".includes(sign)) this.#loose = true;
    return { type: "set", set: this.itself(sign) };
  }

  itself(sign) {
    if (pointOf(sign) > 0xffff) this.#strict = true;
    return single(pointOf(sign));
  }

  group() {
    this.#depth += 1;
    if (this.#depth > MOST_DEPTH) this.no("brackets more than 256 deep");
    const name = this.match(NAME);
    if (name && (this.dialect === "ecma") !== name[0].startsWith("(?P") && !this.#names.has(name[1])) {
      this.#names.add(name[1]);
      this.position += name[0].length;
    } else {
      this.position += 1;
      if (this.peek() === "?" && !this.take("?:")) this.no("look-around, flags or another extension");
    }
    const found = this.either();
    if (!this.take(")")) this.no("a ( that is never closed");
    this.#depth -= 1;
    return found;
  }

  // ---- escapes ----

  escape() {
    const at = this.position;
    const sign = this.peek(1);
    if (this.dialect === "python" && (sign === "A" || sign === "Z")) {
      this.position += 2;
      return { type: "anchor", end: sign === "Z", sign: sign === "Z" ? "$" : "^" };
    }
    if (sign === "-") this.#loose = true;
    return { type: "set", set: this.escaped(at)[0] };
  }

  /** The set of an escape, and whether it is one character. */
  escaped(at) {
    this.position += 1;
    const sign = this.peek();
    if (!sign) this.no("a backslash at the end", at);
    this.position += 1;
    const category = "dws".includes(sign.toLowerCase()) ? CATEGORIES[this.dialect][sign.toLowerCase()] : null;
    if (category) return [sign === sign.toLowerCase() ? category : inverted(category), false];
    if (CONTROLS[sign]) return [single(CONTROLS[sign]), true];
    const point = this.dialect === "python" ? this.pythonPoint(sign, at) : this.ecmaPoint(sign, at);
    if (point !== null) return [single(point), true];
    if (/^[0-9A-Za-z]$/.test(sign)) this.no(`the escape \\${sign}`, at);
    if (!"^$\\.*+?()[]{}|/-".includes(sign)) this.#loose = true;
    return [this.itself(sign), true];
  }

  pythonPoint(sign, at) {
    if (sign === "a") return 7;
    const digits = { x: 2, u: 4, U: 8 }[sign];
    return digits ? this.hexadecimal(digits, at) : null;
  }

  ecmaPoint(sign, at) {
    if (sign === "c" && /^[A-Za-z]$/.test(this.peek())) {
      this.position += 1;
      return pointOf(this.peek(-1)) % 32;
    }
    if (sign === "0" && !/^\p{Nd}$/u.test(this.peek())) return 0;
    if (sign === "x") return this.hexadecimal(2, at);
    if (sign !== "u") return null;
    if (this.peek() === "{" || /^[dD]$/.test(this.peek())) this.no("this escape", at);
    return this.hexadecimal(4, at);
  }

  hexadecimal(digits, at) {
    const text = this.signs.slice(this.position, this.position + digits).join("");
    const point = parseInt(text, 16);
    if (!/^[0-9A-Fa-f]+$/.test(text) || text.length !== digits || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) this.no("this escape", at);
    this.position += digits;
    return point;
  }

  // ---- square brackets ----

  brackets() {
    this.position += 1;
    const negated = this.take("^");
    if (this.peek() === "]") this.no("a ] first in square brackets");
    const ranges = [];
    while (!this.take("]")) {
      const at = this.position;
      const [low, one] = this.item(at);
      if (this.peek() !== "-" || ["]", ""].includes(this.peek(1))) {
        ranges.push(...low);
        continue;
      }
      this.position += 1;
      const [high, other] = this.item(at);
      if (!one || !other || low[0][0] > high[0][0]) this.no("a range of something else than two characters in order", at);
      ranges.push([low[0][0], high[0][0]]);
    }
    return negated ? inverted(setOf(ranges)) : setOf(ranges);
  }

  item(at) {
    const sign = this.peek();
    if (!sign) this.no("a [ that is never closed", at);
    if (sign === "[" && this.peek(1) === ":") this.no("a class of POSIX", at);
    if (sign === "\\" && this.peek(1) === "b") {
      this.position += 2;
      return [single(8), true];
    }
    if (sign === "\\") return this.escaped(this.position);
    this.position += 1;
    return [this.itself(sign), true];
  }
}

const ANYTHING = { type: "times", item: { type: "set", set: ALL }, minimum: 0, maximum: Infinity };

/** The tree without anchors at the ends, and with anything where there are none if it is searched for. */
function stripped(tree, search) {
  if (tree.type === "either") return { type: "either", options: tree.options.map((option) => stripped(option, search)) };
  const parts = tree.type === "join" ? [...tree.parts] : [tree];
  if (parts.length === 1 && parts[0] !== tree && (parts[0].type === "either" || parts[0].type === "join")) return stripped(parts[0], search);
  let [begins, ends] = [!search, !search];
  for (; parts[0]?.type === "anchor" && !parts[0].end; begins = true) parts.shift();
  // where the whole text is matched nothing is left for the newline before the end
  for (; parts.at(-1)?.type === "anchor" && (search ? ["$"] : ["$", "n"]).includes(parts.at(-1).sign); ends = true) parts.pop();
  return { type: "join", parts: [...(begins ? [] : [ANYTHING]), ...parts, ...(ends ? [] : [ANYTHING])] };
}

/** The expression of what a tree matches; `encode` spells one character of a set. */
export function expressionOf(tree, encode) {
  switch (tree.type) {
    case "set":
      if (!tree.set.length) refuse("regular expression: square brackets that nothing is in");
      return encode(tree.set);
    case "join":
      return sequence(...tree.parts.map((part) => expressionOf(part, encode)));
    case "either":
      return choice(tree.options.map((option) => expressionOf(option, encode)));
    case "times":
      if (tree.maximum === 0) return EMPTY;
      return tree.minimum === 0 && tree.maximum === Infinity
        ? star(expressionOf(tree.item, encode))
        : repeat(expressionOf(tree.item, encode), tree.minimum, tree.maximum);
    default:
      return refuse("regular expression: an anchor that is not at an end");
  }
}

/** The tree of the texts that match as a whole, or in which a match is found. */
export const regexTree = (text, dialect, search) => stripped(new Parser(text, dialect).whole(), search);

export const regexExpression = (text, dialect, search, encode) => expressionOf(regexTree(text, dialect, search), encode);
