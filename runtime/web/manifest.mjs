// The manifest of a bundle, read as the Python runtime reads it: the same rules, the same codes.
import { errorOf } from "./errors.mjs";
import { ledgerProblem } from "./ledger.mjs";
import { sharesProblem } from "./speculation.mjs";
import { valveProblem } from "./valve.mjs";

export const MAX_MANIFEST_BYTES = 1 << 20;
const MAX_DEPTH = 32;
const MANIFEST_SCHEMA = 1;
const ABI_MAJOR = 1;
const MAX_LIST = 65536;
const MAX_TEXT = 4096;
const MAX_INT32 = 0x7fffffff;
const FILE_NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$/;
const SHA256 = /^[0-9a-f]{64}$/;
const HASH64 = /^[0-9a-f]{16}$/;
const MODE = /^[a-z][a-z0-9_]{0,31}$/;
const UNPRINTABLE = /[\p{Cc}\p{Cs}]/u; // what could speak to a terminal, and halves of characters
const ROLES = ["code", "variant", "weights", "tokenizer", "grammar", "spans", "data", "runtime", "document"];
const ENTRY = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/;
const PORT = /^[^]{1,128}$/u;
const DTYPES = ["float32", "float16", "bfloat16", "float64", "int32", "int64", "bool", "uint8", "int8", "int16"];
const MAX_TENSORS = 256;
const MAX_VOCABULARY = 262144;
const MAX_CHAT_TEXT = 1 << 17;
const MAX_ITEMS = 256;
const TRIMS = ["none", "left", "right", "both"];
const MARKS = ["thinking", "tool_call"];
const MAX_DIMENSIONS = 8;
const MAX_SAMPLE = 2 ** 128; // above all float32
const SAMPLES = 8; // elements of a result that a self-test keeps
const RANGES = { temperature: [0, 100], top_p: [0, 1], repetition_penalty: [0.1, 10], exit_threshold: [0, 1] };

const refuse = (what) => {
  throw errorOf("CHM410", `the manifest is not valid: ${what}`);
};

function object(value, what, keys = []) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) refuse(`${what} is not an object`);
  const missing = keys.filter((key) => !Object.hasOwn(value, key));
  if (missing.length) refuse(`${what} has no ${missing.join(", ")}`);
  return value;
}

function text(value, what, pattern) {
  const isText = typeof value === "string" && (value.length <= MAX_TEXT || [...value].length <= MAX_TEXT);
  if (!isText || UNPRINTABLE.test(value)) refuse(`${what} is not a text`);
  if (pattern && !pattern.test(value)) refuse(`${what} ${JSON.stringify(value.slice(0, 70))} is not valid`);
  return value;
}

function count(value, what) {
  if (!(Number.isSafeInteger(value) && value >= 0)) refuse(`${what} is not a number in range`);
  return value;
}

function list(value, what) {
  if (!Array.isArray(value) || value.length > MAX_LIST) refuse(`${what} is not a list`);
  return value;
}

/** How deep the arrays and objects of a JSON text are nested. */
function depthOf(source) {
  let depth = 0;
  let most = 0;
  let inString = false;
  for (let k = 0; k < source.length; k += 1) {
    const character = source[k];
    if (character === '"') inString = !inString;
    else if (inString) k += character === "\\" ? 1 : 0;
    else if (character === "[" || character === "{") most = Math.max(most, (depth += 1));
    else if (character === "]" || character === "}") depth -= 1;
  }
  return most;
}

/** The value of a manifest's JSON text, not checked yet. */
export function parseManifest(bytes, where) {
  if (bytes.length > MAX_MANIFEST_BYTES) {
    throw errorOf("CHM410", `the manifest has more than ${MAX_MANIFEST_BYTES} bytes, the limit`);
  }
  let source;
  try {
    source = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw errorOf("CHM410", `${where} is not UTF-8`);
  }
  if (depthOf(source) > MAX_DEPTH) refuse(`nested deeper than ${MAX_DEPTH}`);
  try {
    return JSON.parse(source);
  } catch {
    throw errorOf("CHM410", `${where} is not JSON`);
  }
}

/** The manifest of a web bundle; throws ChimeraError CHM410, CHM411, CHM405 or CHM413. */
export function checkManifest(manifest) {
  object(manifest, "the manifest", ["schema", "abi"]);
  const schema = count(manifest.schema, "schema");
  const abi = text(manifest.abi, "abi");
  const madeBy = Object.hasOwn(manifest, "chimerac") ? text(manifest.chimerac, "chimerac") : "(unknown)";
  const advice = `the bundle was made by chimerac ${madeBy}; build it again`;
  if (schema !== MANIFEST_SCHEMA) {
    throw errorOf("CHM411", `manifest version ${schema}, this loader reads ${MANIFEST_SCHEMA}; ${advice}`);
  }
  if (abi.split(".")[0] !== String(ABI_MAJOR)) {
    throw errorOf("CHM405", `bundle version ${abi}, this loader reads ${ABI_MAJOR}.x; ${advice}`);
  }
  const keys = ["name", "target", "config_sha256", "weights_sha256", "chimerac", "files", "memory", "cpu", "self_test", "provenance"];
  object(manifest, "the manifest", keys);
  checkFiles(list(manifest.files, "files"));
  for (const key of ["name", "target", "config_sha256", "weights_sha256", "chimerac"]) text(manifest[key], key);
  const memory = object(manifest.memory, "memory", ["weights_bytes", "state_bytes", "arena_bytes"]);
  for (const key of ["weights_bytes", "state_bytes", "arena_bytes"]) count(memory[key], key);
  if (memory.decode_bytes !== undefined) count(memory.decode_bytes, "decode_bytes");
  for (const feature of list(manifest.cpu, "cpu")) text(feature, "a cpu feature");
  if (manifest.context !== undefined && count(manifest.context, "context") > MAX_INT32) refuse("context is not a number in range");
  const entries = manifest.entries === undefined ? [] : list(manifest.entries, "entries").map(checkEntry);
  distinct(entries, "an entry");
  checkSelfTest(manifest.self_test);
  checkCallTest(manifest.call_test ?? null, entries);
  if (manifest.model_sha256 !== undefined) text(manifest.model_sha256, "model_sha256");
  for (const [key, value] of Object.entries(object(manifest.provenance, "provenance"))) {
    text(key, "a key of provenance");
    text(value, `provenance.${key}`);
  }
  checkGeneration(manifest.generation ?? null);
  checkRefusal(manifest.refusal ?? null);
  checkChat(manifest.chat ?? null);
  if (!manifest.target.startsWith("wasm32")) {
    throw errorOf("CHM413", `the bundle is for ${manifest.target}, not for wasm`);
  }
  return manifest;
}

function checkFiles(files) {
  const names = new Set();
  const roles = {};
  for (const value of files) {
    const { name, role, bytes, sha256, chunks } = object(value, "a file", ["name", "role", "bytes", "sha256"]);
    text(name, "the file name", FILE_NAME);
    if (!ROLES.includes(text(role, `the role of ${name}`))) refuse(`the role ${role} of ${name} is unknown`);
    count(bytes, `the size of ${name}`);
    text(sha256, "a sha256", SHA256);
    if ((chunks ?? null) !== null) checkChunks(chunks, name, bytes);
    names.add(name.toLowerCase());
    roles[role] = (roles[role] ?? 0) + 1;
  }
  if (names.size !== files.length) refuse("a file is listed twice");
  for (const role of ["code", "weights"]) {
    if (roles[role] !== 1) refuse(`${roles[role] ?? 0} files have the role ${role}, not one`);
  }
  if (roles.tokenizer > 1 || roles.spans > 1) refuse("more than one tokenizer, or bank of spans");
}

function checkChunks(value, name, fileBytes) {
  const chunks = object(value, `the chunks of ${name}`, ["bytes", "sha256"]);
  for (const digest of list(chunks.sha256, `the chunks of ${name}`)) text(digest, "a sha256", SHA256);
  const expected = count(chunks.bytes, `the size of the chunks of ${name}`) ? Math.ceil(fileBytes / chunks.bytes) : -1;
  if (chunks.sha256.length !== expected) refuse(`the chunks of ${name} are not those of ${fileBytes} bytes`);
}

function checkSelfTest(value) {
  if (value === null) return;
  const test = object(value, "self_test", ["prompt", "tokens", "logits_hash", "state_hash"]);
  for (const key of ["prompt", "tokens"]) {
    for (const token of list(test[key], `self_test.${key}`)) count(token, "a token");
    if (!test[key].length) refuse("self_test has no tokens");
  }
  for (const key of ["logits_hash", "state_hash"]) text(test[key], "a hash", HASH64);
}

// ---- modules that are no language models ----

function distinct(named, what) {
  if (new Set(named.map(({ name }) => name)).size !== named.length) refuse(`${what} is listed twice`);
}

function checkEntry(value) {
  const entry = object(value, "an entry", ["name", "most", "inputs", "results"]);
  text(entry.name, "the name of an entry", ENTRY);
  if (!(count(entry.most, "the most of an entry") >= 1 && entry.most <= MAX_INT32)) refuse(`the most of ${entry.name} is not a number in range`);
  for (const key of ["inputs", "results"]) {
    for (const port of list(entry[key], key)) checkPort(port);
    if (entry[key].length > MAX_TENSORS) refuse(`more than ${MAX_TENSORS} ${key}`);
    distinct(entry[key], `one of the ${key}`);
  }
  if (entry.most > 1 && ![...entry.inputs, ...entry.results].some(({ shape }) => shape.includes("T"))) refuse(`no axis of ${entry.name} varies`);
  return entry;
}

function checkPort(value) {
  const { name, shape, dtype, values = null } = object(value, "a tensor", ["name", "shape", "dtype"]);
  text(name, "the name of a tensor", PORT);
  if (!DTYPES.includes(text(dtype, "a dtype"))) refuse(`the dtype ${dtype} of ${name} is unknown`);
  if (list(shape, `the shape of ${name}`).length > MAX_DIMENSIONS) refuse(`${name} has more than ${MAX_DIMENSIONS} dimensions`);
  const extents = shape.map((extent) => (extent === "T" ? 1 : count(extent, `an extent of ${name}`)));
  if (!(extents.reduce((a, b) => a * b, 1) <= MAX_INT32)) refuse(`${name} is too large`);
  if (values === null) return;
  const whole = (bound) => Number.isInteger(bound) && bound >= -MAX_INT32 - 1 && bound <= MAX_INT32;
  if (list(values, `the values of ${name}`).length !== 2 || !values.every(whole) || values[0] > values[1]) refuse(`the values of ${name}`);
}

function checkCallTest(value, entries) {
  if (value === null) return;
  const test = object(value, "call_test", ["entry", "calls", "state_hash"]);
  const entry = entries.find(({ name }) => name === text(test.entry, "call_test.entry"));
  if (!entry) refuse(`call_test is of an entry ${test.entry} that is not there`);
  if (!list(test.calls, "call_test.calls").length) refuse("call_test has no calls");
  for (const one of test.calls) {
    const { n, hashes, samples } = object(one, "a call of call_test", ["n", "hashes", "samples"]);
    if (!(count(n, "the n of a call") >= 1 && n <= entry.most)) refuse("the n of a call is not a number in range");
    for (const hash of list(hashes, "hashes")) text(hash, "a hash", HASH64);
    const wanted = entry.results.map(({ shape }) => Math.min(SAMPLES, shape.reduce((product, extent) => product * (extent === "T" ? n : extent), 1)));
    const found = list(samples, "samples").map((some) => list(some, "samples").length);
    if (hashes.length !== wanted.length || String(found) !== String(wanted)) refuse("a call of call_test has not the hash and samples of each result");
    if (samples.flat().some((sample) => sample !== null && !(typeof sample === "number" && Math.abs(sample) <= MAX_SAMPLE))) refuse("a sample is not a number");
  }
  if (text(test.state_hash, "a hash") && !HASH64.test(test.state_hash)) refuse("call_test.state_hash is not a hash");
}

function checkGeneration(value) {
  if (value === null) return;
  const generation = object(value, "generation");
  for (const [name, [low, high]] of Object.entries(RANGES)) {
    const number = generation[name] ?? low;
    if (!(typeof number === "number" && number >= low && number <= high)) refuse(`generation.${name} is not a number from ${low} to ${high}`);
  }
  const most = generation.max_tokens ?? 0;
  if (!(Number.isInteger(most) && most >= 0 && most <= MAX_INT32)) refuse("generation.max_tokens is not a number in range");
  for (const [name, mode] of Object.entries(object(generation.modes === undefined ? {} : generation.modes, "generation.modes"))) {
    text(name, "the name of a mode", MODE);
    const { loops: asked, shares } = object(mode, `the mode ${name}`, ["loops"]);
    const loops = count(asked, `the loops of ${name}`);
    const problem = (shares ?? null) === null ? null : sharesProblem(shares);
    if (problem !== null) refuse(`generation.modes.${name}.${problem}`);
    if (!(loops >= 1 && loops <= MAX_INT32)) refuse(`the loops of ${name} are not a number in range`);
  }
  for (const [part, problemOf] of [[generation.valve, valveProblem], [generation.ledger, ledgerProblem], [generation.shares, sharesProblem]]) {
    const problem = (part ?? null) === null ? null : problemOf(part);
    if (problem !== null) refuse(`generation.${problem}`);
  }
}

function checkRefusal(value) {
  if (value === null) return;
  const refusal = object(value, "refusal", ["threshold", "temperature", "answer"]);
  for (const [name, low, high] of [["threshold", 0, 1], ["temperature", 0.01, 1000]]) {
    const number = refusal[name];
    if (!(typeof number === "number" && number >= low && number <= high)) refuse(`refusal.${name} is not a number from ${low} to ${high}`);
  }
  if (!text(refusal.answer, "refusal.answer")) refuse("refusal.answer is empty");
}

// ---- conversations ----

function chatText(value, what) {
  const isText = typeof value === "string" && value.length > 0 && [...value].length <= MAX_CHAT_TEXT;
  if (!isText || UNPRINTABLE.test(value.replace(/[\t\n\r]/g, ""))) refuse(`${what} is not a text`);
  return [...value].length;
}

function chatToken(value) {
  if (count(value, "a token of chat") >= MAX_VOCABULARY) refuse("a token of chat is not a number in range");
}

/** Characters of the texts among the items of a piece. */
function checkItems(value, name) {
  if (list(value, `chat.pieces.${name}`).length > MAX_ITEMS) refuse(`chat.pieces.${name} has more than ${MAX_ITEMS} items`);
  return value.reduce((sum, item) => sum + (typeof item === "string" ? chatText(item, `chat.pieces.${name}`) : (chatToken(item), 0)), 0);
}

function checkPieces(value) {
  const pieces = object(value, "chat.pieces", ["opening", "answer", "next", "prompt", "system", "trim"]);
  if (!TRIMS.includes(pieces.trim)) refuse("chat.pieces.trim is unknown");
  let characters = ["opening", "answer", "next", "prompt"].reduce((sum, name) => sum + checkItems(pieces[name], name), 0);
  if (pieces.system === null) return characters;
  if (list(pieces.system, "chat.pieces.system").length !== 2) refuse("chat.pieces.system is not two lists");
  for (const items of pieces.system) characters += checkItems(items, "system");
  return characters;
}

function checkChat(value) {
  if (value === null) return;
  const chat = object(value, "chat", ["marks", "space"]);
  let characters = (chat.pieces ?? null) === null ? 0 : checkPieces(chat.pieces);
  if ((chat.template ?? null) !== null) characters += chatText(chat.template, "chat.template");
  for (const [name, pair] of Object.entries(object(chat.marks, "chat.marks"))) {
    if (!MARKS.includes(name)) refuse("chat.marks has another name than thinking and tool_call");
    if (list(pair, "a mark of chat").length !== 2) refuse("a mark of chat is not two tokens");
    pair.forEach(chatToken);
  }
  if (typeof chat.space !== "boolean") refuse("chat.space is not true or false");
  if (characters > MAX_CHAT_TEXT) refuse("the texts of chat are too long");
}

export const fileOf = (manifest, role) => manifest.files.find((file) => file.role === role);
