// What callers hand to a model, checked at its door: texts, tokens, options. Python's runtime/arguments.py has the same rules.
import { ArgumentError } from "./errors.mjs";

const MOST_TEXT_BYTES = 2 ** 28;
const MOST_SHOWN = 40; // characters of a caller's own text in a message

export const refuse = (message) => { throw new ArgumentError(message); };

/** A caller's value in a message: escaped, and not too much of it. */
function shown(value) {
  const text = typeof value === "string" ? JSON.stringify(value).replace(/[\u007f-\uffff]/g, escaped) : String(value);
  return text.length <= MOST_SHOWN ? text : `${text.slice(0, MOST_SHOWN)}…`;
}

const escaped = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** A value of the wrong type in a message: of objects the type. */
export function kind(value) {
  if (typeof value === "function") return "a function";
  if (value === null || typeof value !== "object") return shown(value);
  return `a value of type ${shown(value.constructor?.name ?? "object")}`;
}

// ---- names ----

const plain = (name) => name.slice(0, MOST_SHOWN + 1).replace(/[_-]/g, "").toLowerCase();

/** Letters to put in, leave out, change, or swap with the next one. */
function distance(a, b) {
  let before = Array.from({ length: b.length + 1 }, (_, j) => j);
  let twoAgo = [];
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      row.push(Math.min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) row[j] = Math.min(row[j], twoAgo[j - 2] + 1);
    }
    [twoAgo, before] = [before, row];
  }
  return before[b.length];
}

/** The known name that this one may be a slip of: at most a third of its letters differ, whatever their case. */
export function nearest(name, known) {
  const wanted = plain(name);
  let best = null;
  let least = Infinity;
  for (const other of known) {
    const found = distance(wanted, plain(other));
    if (found < least) [least, best] = [found, other];
  }
  return 3 * least <= Math.max(3, wanted.length) && wanted.length <= MOST_SHOWN ? best : null;
}

/** The end of a message about a name that is none of those that are known. */
export function instead(name, known, whose = "the bundle has") {
  const near = nearest(name, known);
  return near !== null ? `did you mean "${near}"?` : `${whose} ${known.join(", ") || "none"}`;
}

export const unknown = (what, name) => `there is no ${what} ${shown(name)}`;

export function checkNames(given, known) {
  if (given === null || typeof given !== "object") refuse(`the options are ${kind(given)}, not an object`);
  for (const name of Object.keys(given)) {
    if (!known.includes(name)) refuse(`${unknown("option", name)}; ${instead(name, known, "there are")}`);
  }
}

// ---- values ----

function whole(name, value, bits) {
  if (!Number.isSafeInteger(value) || value < 0 || value >= 2 ** bits) refuse(`${name} is ${kind(value)}, not an integer from 0 to 2**${bits} - 1`);
}

function finite(name, value) {
  if (typeof value !== "number" || !Number.isFinite(value)) refuse(`${name} is ${kind(value)}, not a finite number`);
}

function checkSeed(name, value) {
  const valid = typeof value === "bigint" ? value >= 0n && value < 1n << 64n : Number.isSafeInteger(value) && value >= 0;
  if (!valid) refuse(`${name} is ${kind(value)}, not an integer from 0 to 2**64 - 1 (a BigInt from 2**53 on)`);
}

function ofType(type, what) {
  return (name, value) => {
    if (typeof value !== type) refuse(`${name} is ${kind(value)}, not ${what}`);
  };
}

function checkSignal(name, value) {
  if (typeof value?.throwIfAborted !== "function") refuse(`${name} is ${kind(value)}, not an AbortSignal`);
}

function checkGrammar(name, value) {
  if (typeof value !== "string" && !(value instanceof Uint8Array)) refuse(`${name} is ${kind(value)}, not a name or the bytes of a compiled grammar`);
}

function checkSchema(name, value) {
  if (typeof value !== "boolean" && (typeof value !== "object" || Array.isArray(value))) refuse(`${name} is ${kind(value)}, not an object, true or false`);
}

function checkChoices(name, value) {
  if (!Array.isArray(value) || !value.length || !value.every((text) => typeof text === "string" && text)) refuse(`${name} is ${kind(value)}, not a list of texts that are not empty`);
}

function checkRequest(name, value) {
  if (typeof value !== "string" && !(value instanceof Uint8Array)) refuse(`${name} is ${kind(value)}, neither a text nor its bytes`);
}

const LISTS = ["names", "areas", "floors"]; // as SLOT_KINDS of the pack's format has them, after the request
export const MOST_NAME_BYTES = 255;

export function checkName(list, name) {
  if (typeof name !== "string" || !name.trim() || new TextEncoder().encode(name).length > MOST_NAME_BYTES) {
    refuse(`${kind(name)} in lists.${list} is not a name of at most ${MOST_NAME_BYTES} bytes`);
  }
  checkText(name, "a name");
  if (/[\u0000-\u001f\u007f]|^ /.test(name)) refuse(`${shown(name)} in lists.${list} has a control character, or a space before it`);
}

function checkLists(option, value) {
  if (value === null || typeof value !== "object") refuse(`${option} is ${kind(value)}, not an object of lists of names`);
  for (const [list, names] of Object.entries(value)) {
    if (!LISTS.includes(list)) refuse(`${unknown("list", list)}; ${instead(list, LISTS, "there are")}`);
    if (!Array.isArray(names)) refuse(`lists.${list} is ${kind(names)}, not a list of names`);
    for (const name of names) checkName(list, name);
  }
}

/** What may stand in a grammar's slots, by kind: bytes, or null where none was given. */
export function slotTexts({ request, lists }, prompt) {
  const given = request === undefined ? (prompt instanceof Uint8Array ? prompt : null) : checkText(request, "the request");
  const named = LISTS.map((list) => (lists?.[list] ? new TextEncoder().encode(lists[list].map((name) => `${name}\n`).join("")) : null));
  return [given, ...named];
}

const bits = (count) => (name, value) => whole(name, value, count);

const MOST_STOPS = 16;
const MOST_STOP_CHARACTERS = 1024;

function checkStop(name, value) {
  const texts = Array.isArray(value) ? value : [value];
  for (const text of texts) {
    if (typeof text !== "string" || !text) refuse(`${name} is ${kind(text)}, not a text or a list of texts`);
    if (text.length > MOST_STOP_CHARACTERS) refuse(`${name} has a text of more than ${MOST_STOP_CHARACTERS} characters`);
  }
  if (texts.length > MOST_STOPS) refuse(`${name} has ${texts.length} texts; ${MOST_STOPS} are possible`);
}

function oneOf(...values) {
  return (name, value) => {
    if (!values.includes(value)) refuse(`${name} is ${kind(value)}, not one of ${values.map((one) => JSON.stringify(one)).join(", ")}`);
  };
}

function checkWorkerUrl(name, value) {
  const trusted = typeof TrustedScriptURL === "function" && value instanceof TrustedScriptURL;
  if (typeof value !== "string" && !(value instanceof URL) && !trusted) refuse(`${name} is ${kind(value)}, not the address of a script`);
}

function atMost(most) {
  return (name, value) => {
    if (!Number.isInteger(value) || value < 0 || value > most) refuse(`${name} is ${kind(value)}, not an integer from 0 to ${most}`);
  };
}

const RUN = { signal: checkSignal, onProgress: ofType("function", "a function") };
const GENERATE = {
  maxTokens: bits(31), temperature: finite, topP: finite, topK: bits(31), repetitionPenalty: finite, seed: checkSeed, stream: bits(32),
  loops: bits(31), exitThreshold: finite, reset: ofType("boolean", "true or false"), speculate: ofType("boolean", "true or false"),
  score: ofType("boolean", "true or false"), refuse: ofType("boolean", "true or false"), valve: ofType("boolean", "true or false"), grammar: checkGrammar, schema: checkSchema,
  regex: ofType("string", "a regular expression as a text"), choices: checkChoices, request: checkRequest,
  lists: checkLists, mode: ofType("string", "a name"), stop: checkStop, ahead: atMost(1024), ...RUN,
};
const GRAMMARS = ["grammar", "schema", "regex", "choices"]; // of which one is possible
const STORE = { cache: oneOf("auto", "opfs", "cache", "memory") };
const LOAD = {
  ...RUN, ...STORE, threads: atMost(64), variant: ofType("string", "a file name"), fetch: ofType("function", "a function"),
  worker: ofType("boolean", "true or false"), workerUrl: checkWorkerUrl, retries: atMost(100), stallTimeout: atMost(2 ** 31 - 1),
};

/** A copy of options that have no other names and right values; undefined and null are not given. */
function checked(given, rules) {
  checkNames(given, Object.keys(rules));
  const found = {};
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null) continue;
    rules[name](name, value);
    found[name] = value;
  }
  return found;
}

/** Options of a generation; `stop` becomes a list. */
export function checkGenerateOptions(given, rules = GENERATE) {
  const found = checked(given, rules);
  if (found.stop !== undefined) found.stop = [found.stop].flat();
  const grammars = GRAMMARS.filter((name) => found[name] !== undefined);
  if (grammars.length > 1) refuse(`${grammars.join(" and ")} exclude each other`);
  return found;
}
/** Options of chat: those of generate, but for reset. */
export function checkChatOptions(given) {
  const { reset: none, ...rules } = GENERATE;
  return checkGenerateOptions(given, rules);
}
export const checkRunOptions = (given) => checked(given, RUN);
export const checkCompileOptions = (given) => checked(given, { signal: checkSignal, timeout: atMost(2 ** 31 - 1) });
export const checkLoadOptions = (given) => checked(given, LOAD);

/** Options of tokenize: { specials, begins }. */
export function checkTokenizeOptions(given) {
  const boolean = ofType("boolean", "true or false");
  const found = { specials: false, begins: true, ...checked(given, { specials: boolean, begins: boolean }) };
  if (found.specials && !found.begins) refuse("specials are for a text that begins");
  return found;
}

// ---- texts and tokens ----

/** The bytes of a text; bytes are taken as they are. */
export function checkText(text, what) {
  if (typeof text !== "string" && !(text instanceof Uint8Array)) refuse(`${what} is ${kind(text)}, neither a text nor its bytes`);
  if (text.length > MOST_TEXT_BYTES) refuse(`${what} is over 256 MiB`);
  if (typeof text !== "string") return text;
  const surrogate = text.search(/\p{Surrogate}/u); // with u, pairs are one character
  if (surrogate >= 0) refuse(`${what} is not a valid text: there is a lone surrogate at character ${[...text.slice(0, surrogate)].length}`);
  const bytes = new TextEncoder().encode(text);
  if (bytes.length > MOST_TEXT_BYTES) refuse(`${what} is over 256 MiB`);
  return bytes;
}

/** Int32Array of the tokens of an iterable. */
export function checkTokens(tokens, vocabulary, what = "the prompt") {
  const iterable = tokens !== null && typeof tokens === "object" && typeof tokens[Symbol.iterator] === "function";
  if (!iterable || tokens instanceof Map || tokens instanceof Set) refuse(`${what} is ${kind(tokens)}, neither a text, its bytes nor a list of tokens`);
  const found = Array.from(tokens);
  for (const token of found) {
    if (!Number.isInteger(token)) refuse(`${kind(token)} is not a token`);
    if (token < 0 || token >= vocabulary) refuse(`token ${token} is not in the vocabulary of ${vocabulary}`);
  }
  return Int32Array.from(found);
}

/** A prompt: the bytes of a text as Uint8Array, or tokens as Int32Array. */
export function checkPrompt(prompt, vocabulary) {
  return typeof prompt === "string" || prompt instanceof Uint8Array ? checkText(prompt, "the prompt") : checkTokens(prompt, vocabulary);
}

/** Bytes that are read, as Uint8Array. */
export function checkBytes(data, what) {
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  if (!ArrayBuffer.isView(data)) refuse(`${what} is ${kind(data)}, not bytes`);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
