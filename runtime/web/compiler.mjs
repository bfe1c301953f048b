// Grammars compiled where the model runs: choices, regular expressions and the schemas of docs/grammar.md, as the bytes of a pack
// (docs/fstpack.md). It takes the texts that Python's chimerac.compile_grammar takes for the same source, or refuses the source.
import { checkCompileOptions, checkNames, kind, refuse as refuseArgument } from "./arguments.mjs";
import { States } from "./compiler-automaton.mjs";
import { Refusal, choice, literal, refuse, ruleOf, utf8 } from "./compiler-characters.mjs";
import { packOf } from "./compiler-pack.mjs";
import { regexExpression } from "./compiler-regex.mjs";
import { schemaExpression } from "./compiler-schema.mjs";
import { tablesOf } from "./compiler-tables.mjs";
import { errorOf } from "./errors.mjs";
import { inSlices } from "./slices.mjs";

const MOST_CHOICES = 10_000;
const MOST_CHARACTERS = 1 << 20;
const SPACE_CAP = 8;
const MOST_MS = 10_000; // of compiling

function* choices(texts) {
  if (!texts.length || !texts.every(Boolean)) refuseArgument("choices are at least one text, none of them empty");
  if (texts.length > MOST_CHOICES || texts.join("\n").length > MOST_CHARACTERS) refuse("so many choices");
  if (texts.some((text) => /\p{Surrogate}/u.test(text))) refuse("a choice with a surrogate that stands alone");
  return choice([...new Set(texts)].map(literal));
}

/** What is compiled, by the name of its option: the check of its type, and its expression, which is found in steps. */
const SOURCES = {
  choices: [(value) => Array.isArray(value) && value.every((text) => typeof text === "string"), "a list of texts", choices],
  regex: [(value) => typeof value === "string", "a text", function* (value) { return regexExpression(value, "python", false, utf8); }],
  schema: [(value) => typeof value === "boolean" || (value !== null && typeof value === "object" && !Array.isArray(value)), "an object, true or false", schemaExpression],
};

function checkSource(name, source) {
  const [fits, what] = SOURCES[name];
  if (!fits(source)) refuseArgument(`${name} is ${kind(source)}, not ${what}`);
}

/** The tables of a source, in steps between which a slice may end. */
function* tables(name, source) {
  const expression = yield* SOURCES[name][2](name === "schema" ? JSON.parse(JSON.stringify(source)) : source);
  yield;
  const states = yield* new States().found(ruleOf(expression));
  return yield* tablesOf(states);
}

/**
 * The bytes of one grammar, for the option `grammar` of generate(): of { schema }, { regex } or { choices }, and `whitespace`, the most
 * optional whitespace in a row (0 to 255). What is not compiled here is a GrammarError CHM433. It is compiled in slices between which the
 * event loop has its turn: aborting `signal` throws its reason, and what takes more than `timeout` milliseconds is a GrammarError, too.
 */
export async function compileGrammar(options, running = {}) {
  checkNames(options, [...Object.keys(SOURCES), "whitespace"]);
  const { signal, timeout = MOST_MS } = checkCompileOptions(running);
  const { whitespace = SPACE_CAP } = options;
  const given = Object.keys(SOURCES).filter((name) => options[name] !== undefined && options[name] !== null);
  if (given.length !== 1) refuseArgument(`one of ${Object.keys(SOURCES).join(", ")} is needed, not ${given.join(" and ") || "none"}`);
  if (!Number.isInteger(whitespace) || whitespace < 0 || whitespace > 255) refuseArgument(`whitespace is ${kind(whitespace)}, not an integer from 0 to 255`);
  const [name] = given;
  checkSource(name, options[name]);
  const late = () => refuse(`a ${name} that takes more than ${timeout} ms to compile`);
  try {
    const found = await inSlices(tables(name, options[name]), { signal, most: timeout, late });
    return await packOf(name, found, whitespace);
  } catch (error) {
    const why = error instanceof Refusal ? error.message : error instanceof RangeError ? `a ${name} that is nested so deep` : null;
    if (why === null) throw error;
    throw errorOf("CHM433", `${why}: not compiled in a page yet; compile it with chimerac.compile_grammar(${name}=…) and give its bytes as grammar`);
  }
}
