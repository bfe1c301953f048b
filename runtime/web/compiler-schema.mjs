// JSON Schemas as expressions over bytes: the keywords that most schemas need, of which docs/grammar.md has the list. Others are refused. As
// Python's frontends/grammar/schema*.py.
import { united } from "./compiler-alternatives.mjs";
import { boundedString } from "./compiler-bounded.mjs";
import { EMPTY, NOTHING, choice, counted, literal, optional, refuse, repeat, ruleOf, sequence, star } from "./compiler-characters.mjs";
import { FORMATS } from "./compiler-formats.mjs";
import {
  ANY, ANY_ARRAY, ANY_OBJECT, ANY_STRING, BOOLEAN, COLON, COMMA, INTEGER, NULL, NUMBER, QUOTE, SPACES, countedString, encode, fixedValue, otherKey,
} from "./compiler-json.mjs";
import { boundedNumber } from "./compiler-numbers.mjs";
import { expressionOf, regexTree } from "./compiler-regex.mjs";

const TYPES = ["object", "array", "string", "number", "integer", "boolean", "null"];
const MOST_COUNT = 65_534;
const MOST_PROPERTIES = 2048;
const MOST_ALTERNATIVES = 1000;
const MOST_VALUES = 10_000;

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isCount = (value) => Number.isSafeInteger(value) && value >= 0;
const isText = (value) => typeof value === "string";
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const isList = (value) => Array.isArray(value) && value.length > 0;
const anything = () => true;

/** Keywords that are obeyed, and what their values are. */
const KEYWORDS = {
  type: (value) => (isText(value) ? [value] : isList(value) ? value : [""]).every((name) => TYPES.includes(name)),
  enum: isList, const: anything, anyOf: isList, allOf: (value) => isList(value) && value.length === 1, oneOf: isList, $ref: isText,
  properties: isObject, required: (value) => Array.isArray(value) && value.every(isText), additionalProperties: anything,
  items: (value) => isObject(value) || typeof value === "boolean", prefixItems: isList, minItems: isCount, maxItems: isCount,
  minLength: isCount, maxLength: isCount, pattern: isText, format: isText, multipleOf: (value) => isNumber(value) && value > 0, uniqueItems: (value) => value === false,
  minimum: isNumber, maximum: isNumber, exclusiveMinimum: isNumber, exclusiveMaximum: isNumber,
};
/** Keywords that say nothing about values. */
const ANNOTATIONS = [
  "$comment", "$defs", "definitions", "title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly",
  "contentMediaType", "contentEncoding", "contentSchema", "discriminator", "xml", "externalDocs",
];
const OBJECT_WORDS = ["properties", "required", "additionalProperties"];

const typesOf = ({ type }) => {
  const named = type === undefined ? TYPES : [type].flat();
  return new Set(named.includes("number") ? [...named, "integer"] : named);
};
const escaped = (key) => key.replaceAll("~", "~0").replaceAll("/", "~1");

function typeOf(value) {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return typeof value;
}

class Schemas {
  #root;
  #references = new Map(); // $ref → { rule, open, within: references that it leads back to }
  #open = []; // references and parts { called } around what is looked at, outermost first
  #alternatives = 0;

  constructor(root) {
    this.#root = root;
  }

  no(place, what) {
    refuse(`schema at ${place || "/"}: ${what}`);
  }

  #check(schema, place) {
    if (!isObject(schema)) this.no(place, "what is neither an object, true nor false");
    for (const [key, value] of Object.entries(schema)) {
      const at = `${place}/${escaped(key)}`;
      if (key === "$schema") {
        if (!isText(value) || !value.includes("//json-schema.org/")) this.no(at, "this dialect");
      } else if (!ANNOTATIONS.includes(key)) {
        if (!Object.hasOwn(KEYWORDS, key)) this.no(at, `the keyword ${JSON.stringify(key.slice(0, 40))}`);
        if (!KEYWORDS[key](value)) this.no(at, "this value of the keyword");
      }
    }
  }

  /** The texts of the values for which a schema holds; found in steps, as all that this needs. */
  *value(schema, place) {
    yield;
    if (schema === true) return ANY;
    if (schema === false) return NOTHING;
    this.#check(schema, place);
    const joining = ["$ref", "allOf", "anyOf", "oneOf"].filter((key) => Object.hasOwn(schema, key));
    if (!joining.length) return yield* this.#leaf(schema, place);
    const [key] = joining;
    const beside = Object.keys(schema).find((other) => other !== key && Object.hasOwn(KEYWORDS, other));
    if (beside) this.no(`${place}/${key}`, `${key} beside ${beside}`);
    if (key === "$ref") return yield* this.#reference(schema.$ref, `${place}/$ref`);
    if (key === "oneOf" && !this.#apart(schema.oneOf, `${place}/oneOf`)) this.no(`${place}/oneOf`, "oneOf of schemas that differ by neither type nor a const");
    this.#alternatives += schema[key].length;
    if (this.#alternatives > MOST_ALTERNATIVES) this.no(place, "so many alternatives");
    return united(yield* this.#values(schema[key], `${place}/${key}`));
  }

  /** The texts of each of some schemas. */
  *#values(schemas, place) {
    const found = [];
    for (const [index, schema] of schemas.entries()) found.push(yield* this.value(schema, `${place}/${index}`));
    return found;
  }

  // ---- references ----

  #target(reference, place) {
    if (!/^#(\/|$)/.test(reference)) this.no(place, `the reference ${JSON.stringify(reference.slice(0, 40))}`);
    let found = this.#root;
    for (const part of reference.split("/").slice(1)) {
      const key = decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~");
      if (found === null || typeof found !== "object" || !Object.hasOwn(found, key)) this.no(place, "a reference to nothing");
      found = found[key];
    }
    return found;
  }

  /** The rule of what a reference names. */
  *#reference(reference, place) {
    let known = this.#references.get(reference);
    if (!known) {
      known = { rule: ruleOf(), open: true, within: new Set() };
      this.#references.set(reference, known);
      this.#open.push(known);
      known.rule.expression = yield* this.value(this.#target(reference, place), reference.slice(1));
      this.#open.pop();
      known.open = false;
    } else {
      for (const one of known.open ? [known] : known.within) if (one.open) this.#again(one, place);
    }
    return known.rule.expression === NOTHING ? NOTHING : known.rule;
  }

  /** Here is a reference that is being looked at: an object or array between gets a frame of its own, as it ends with a byte of its own. */
  #again(known, place) {
    const between = this.#open.slice(this.#open.indexOf(known) + 1);
    const parts = between.filter(({ rule }) => !rule);
    if (!parts.length) this.no(place, "a reference that leads to itself");
    const part = parts.length === between.length ? parts[0] : parts.pop(); // the whole of what is in itself, where no other reference needs the last one
    part.called = true;
    for (const { within } of between.slice(between.indexOf(part) + 1)) within?.add(known);
  }

  /** What the steps `make` give, the texts of an object or an array, in a frame where it is in itself. */
  *#framed(make) {
    const part = { called: false };
    this.#open.push(part);
    const found = yield* make;
    this.#open.pop();
    return part.called && found !== NOTHING && found.kind !== "counted" ? ruleOf(found, true) : found;
  }

  /** Whether alternatives cannot hold together: their types differ, or a required property's const. */
  #apart(options, place) {
    const schemas = options.map((option) => this.#followed(option, place));
    const types = schemas.map((schema) => (Object.hasOwn(schema, "type") ? [...typesOf(schema)] : null));
    if (types.every(Boolean) && new Set(types.flat()).size === types.flat().length) return true;
    return Object.keys(schemas[0].properties ?? {}).some((name) => {
      const values = schemas.map((schema) => {
        const property = schema.type === "object" && schema.required?.includes?.(name) && isObject(schema.properties) && schema.properties[name];
        return isObject(property) ? (isText(property.const) ? [property.const] : Array.isArray(property.enum) && property.enum.every(isText) ? property.enum : null) : null;
      });
      return values.every(Boolean) && new Set(values.flat()).size === values.flatMap((list) => [...new Set(list)]).length;
    });
  }

  #followed(schema, place) {
    let found = schema;
    for (let count = 0; isObject(found) && isText(found.$ref) && count < 16; count += 1) found = this.#target(found.$ref, place);
    return isObject(found) ? found : {};
  }

  // ---- plain schemas ----

  *#leaf(schema, place) {
    if (Object.hasOwn(schema, "enum") || Object.hasOwn(schema, "const")) return this.#fixed(schema, place);
    const types = typesOf(schema);
    const options = [];
    if (types.has("object")) options.push(yield* this.#framed(this.#object(schema, place)));
    if (types.has("array")) options.push(yield* this.#framed(this.#array(schema, place)));
    if (types.has("string")) options.push(yield* this.#string(schema, place));
    if (types.has("integer")) options.push(yield* this.#number(schema, !types.has("number"), place));
    if (types.has("boolean")) options.push(BOOLEAN);
    if (types.has("null")) options.push(NULL);
    return choice(options);
  }

  #fixed(schema, place) {
    const key = Object.hasOwn(schema, "enum") ? "enum" : "const";
    const beside = Object.keys(schema).find((other) => other !== key && other !== "type" && Object.hasOwn(KEYWORDS, other));
    if (beside) this.no(`${place}/${key}`, `${key} beside ${beside}`);
    const values = key === "enum" ? schema.enum : [schema.const];
    if (values.length > MOST_VALUES) this.no(`${place}/${key}`, "so many values");
    const types = typesOf(schema);
    const texts = new Map(values.filter((value) => types.has(typeOf(value))).map((value) => [JSON.stringify(value), value]));
    return choice([...texts.values()].map((value) => fixedValue(value, `schema at ${place}/${key}`)));
  }

  #counts(schema, least, most) {
    const { [least]: minimum = 0, [most]: maximum = Infinity } = schema;
    return [minimum, maximum === Infinity ? Infinity : Math.min(maximum, MOST_COUNT)];
  }

  *#string(schema, place) {
    const [minimum, maximum] = this.#counts(schema, "minLength", "maxLength");
    if (minimum > maximum) return NOTHING;
    if (minimum > MOST_COUNT) this.no(`${place}/minLength`, "so long strings");
    const bounded = minimum > 0 || maximum < Infinity;
    const restricting = ["pattern", "format"].filter((key) => Object.hasOwn(schema, key));
    if (!restricting.length) return bounded ? countedString(minimum, maximum) : ANY_STRING;
    if (Object.hasOwn(schema, "format") && !Object.hasOwn(FORMATS, schema.format)) this.no(`${place}/format`, `the format ${JSON.stringify(schema.format.slice(0, 40))}`);
    const trees = restricting.map((key) => regexTree(key === "pattern" ? schema.pattern : FORMATS[schema.format], "ecma", key === "pattern"));
    if (bounded || trees.length > 1) return yield* boundedString(trees, minimum, maximum);
    const text = expressionOf(trees[0], encode);
    return text === NOTHING ? NOTHING : sequence(QUOTE, text, QUOTE);
  }

  *#number(schema, integer, place) {
    const { minimum = null, maximum = null, exclusiveMinimum: above = null, exclusiveMaximum: below = null } = schema;
    const { multipleOf = null } = schema;
    if ([minimum, maximum, above, below, multipleOf].every((bound) => bound === null)) return integer ? sequence(INTEGER, optional(literal(".0"))) : NUMBER;
    const lowOpen = above !== null && (minimum === null || above >= minimum);
    const highOpen = below !== null && (maximum === null || below <= maximum);
    return yield* boundedNumber({ low: lowOpen ? above : minimum, high: highOpen ? below : maximum, lowOpen, highOpen }, multipleOf, integer, `schema at ${place}`);
  }

  *#array(schema, place) {
    let [minimum, maximum] = this.#counts(schema, "minItems", "maxItems");
    if (minimum > maximum) return NOTHING;
    if (minimum > MOST_COUNT) this.no(`${place}/minItems`, "so many items");
    const first = schema.prefixItems ?? [];
    const bounded = minimum > 0 || maximum < Infinity;
    if (!first.length && !bounded && !Object.hasOwn(schema, "items")) return ANY_ARRAY;
    const listed = yield* this.#values(first.slice(0, maximum), `${place}/prefixItems`);
    const ends = listed.indexOf(NOTHING); // an item that cannot be ends the array before it
    if (ends >= 0) {
      listed.length = ends;
      maximum = ends;
    }
    const rest = maximum === listed.length ? NOTHING : yield* this.value(schema.items ?? true, `${place}/items`);
    if (rest === NOTHING && minimum > listed.length) return NOTHING;
    return listed.length ? this.#tuple(listed, rest, minimum, maximum) : this.#list(rest, minimum, maximum);
  }

  #list(item, minimum, maximum) {
    const [opening, closing] = [sequence(literal("["), SPACES), literal("]")];
    if (item === NOTHING) return sequence(opening, closing);
    const spaced = sequence(item, SPACES);
    if (minimum || maximum < Infinity) return counted(opening, spaced, COMMA, closing, minimum, maximum);
    return sequence(opening, optional(sequence(spaced, star(sequence(COMMA, spaced)))), closing);
  }

  #tuple(listed, rest, minimum, maximum) {
    const known = listed.length;
    let tail = rest === NOTHING ? EMPTY : repeat(sequence(COMMA, rest, SPACES), Math.max(0, minimum - known), maximum - known);
    for (let index = known - 1; index >= 0; index -= 1) {
      const item = sequence(...(index ? [COMMA] : []), listed[index], SPACES, tail);
      tail = index < minimum ? item : optional(item);
    }
    return sequence(literal("["), SPACES, tail, literal("]"));
  }

  *#object(schema, place) {
    if (!OBJECT_WORDS.some((key) => Object.hasOwn(schema, key))) return ANY_OBJECT;
    const { properties = {}, required = [], additionalProperties: more = true } = schema;
    const names = [...new Set([...Object.keys(properties), ...required])];
    if (names.length > MOST_PROPERTIES) this.no(place, "so many properties");
    const others = yield* this.value(more, `${place}/additionalProperties`);
    const held = [];
    for (const name of names) {
      const value = Object.hasOwn(properties, name) ? yield* this.value(properties[name], `${place}/properties/${escaped(name)}`) : others;
      held.push({ name, needed: required.includes(name), value });
    }
    if (held.some(({ needed, value }) => needed && value === NOTHING)) return NOTHING;
    if (names.some((name) => /\p{Surrogate}/u.test(name))) this.no(`${place}/properties`, "a name with a surrogate that stands alone");
    const possible = held.filter(({ value }) => value !== NOTHING);
    if (others === NOTHING) return this.#chain(possible, null);
    const key = names.length ? yield* otherKey(names) : ANY_STRING;
    return this.#chain(possible, sequence(key, COLON, others, SPACES));
  }

  /** Named properties in their order, then others: what may come, and whether the object may end there. */
  #chain(held, other) {
    const rule = other && ruleOf();
    if (rule) rule.expression = sequence(other, optional(sequence(COMMA, rule)));
    let rest = { more: rule ?? NOTHING, end: true };
    const after = ({ more, end }) => (more === NOTHING ? EMPTY : end ? optional(sequence(COMMA, more)) : sequence(COMMA, more));
    for (const { name, needed, value } of [...held].reverse()) {
      const pair = ruleOf(sequence(literal(JSON.stringify(name)), COLON, value, SPACES, after(rest)));
      const here = needed || rest.more === NOTHING ? [pair] : [pair, rest.more];
      rest = { more: here.length > 1 ? ruleOf(choice(here)) : pair, end: rest.end && !needed };
    }
    const inner = rest.more === NOTHING ? EMPTY : rest.end ? optional(rest.more) : rest.more;
    return sequence(literal("{"), SPACES, inner, literal("}"));
  }
}

/** The expression of the JSON texts that are valid against a schema; found in steps. */
export function* schemaExpression(schema) {
  const found = yield* new Schemas(schema).value(schema, "");
  if (found === NOTHING) refuse("a schema that no value fits");
  return sequence(SPACES, found, SPACES);
}
