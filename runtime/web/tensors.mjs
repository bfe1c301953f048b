// Calls of a module that is no language model: tensors in, tensors out. Python's runtime/sessions/tensors.py has the same rules.
import { checkNames, instead, kind, refuse, unknown } from "./arguments.mjs";
import { errorOf } from "./errors.mjs";

const AXIS = "T"; // in a shape, the axis that varies
const LOW = -(2 ** 31);
const HIGH = 2 ** 31 - 1;
const INFO_BYTES = 12; // of a chm_tensor: the addresses of its name and its data, and its bytes

const isFloat = (port) => port.dtype.includes("float");
const arrayOf = (port) => (isFloat(port) ? Float32Array : Int32Array);
const elements = (port, n) => port.shape.reduce((product, extent) => product * (extent === AXIS ? n : extent), 1);

// ---- what callers hand over ----

/** The inputs of an entry in its order, and the extent of the axis that varies. */
export function checkCall(entries, inputs, options) {
  if (!entries?.length) throw errorOf("CHM421", "the bundle holds a language model, which takes no tensors");
  checkNames(options, ["entry", "n"]);
  const names = entries.map(({ name }) => name);
  const entry = options.entry === undefined ? entries[0] : entries.find(({ name }) => name === options.entry);
  if (!entry) refuse(`${unknown("entry", options.entry)}; ${instead(String(options.entry), names)}`);
  if (inputs === null || typeof inputs !== "object" || Array.isArray(inputs) || ArrayBuffer.isView(inputs)) {
    refuse(`the inputs are ${kind(inputs)}, not an object of arrays by name`);
  }
  const known = entry.inputs.map(({ name }) => name);
  for (const name of Object.keys(inputs)) if (!known.includes(name)) refuse(`${unknown("input", name)}; ${instead(name, known, "there are")}`);
  for (const name of known) if (!Object.hasOwn(inputs, name)) refuse(`the input ${name} is missing`);
  const tensors = entry.inputs.map((port) => toArray(port, inputs[port.name]));
  const n = extentOf(entry, tensors, options.n);
  entry.inputs.forEach((port, i) => checkTensor(port, tensors[i], n));
  return { entry, tensors, n };
}

function toArray(port, given) {
  const Kind = arrayOf(port);
  if (given instanceof Kind) return given;
  if (!Array.isArray(given)) refuse(`the input ${port.name} is ${kind(given)}, not a ${Kind.name} or an array of numbers`);
  for (const value of given) {
    const fits = isFloat(port) ? typeof value === "number" : Number.isInteger(Number(value)) && Math.abs(value) <= 2 ** 31;
    if (!fits || (typeof value === "boolean" && port.dtype !== "bool")) refuse(`the input ${port.name} has ${kind(value)}, which is no ${port.dtype}`);
    if (!isFloat(port) && (value < LOW || value > HIGH)) refuse(`the input ${port.name} has the value ${value}; ${LOW} to ${HIGH} are possible`);
  }
  return Kind.from(given, Number);
}

/** What the axis that varies has: as the caller says, or by the first input that has it. */
function extentOf(entry, tensors, given) {
  let n = given;
  if (n === undefined) {
    const index = entry.inputs.findIndex(({ shape }) => shape.includes(AXIS));
    if (index < 0) return 1;
    const { shape } = entry.inputs[index];
    n = Math.round((tensors[index].length / elements(entry.inputs[index], 1)) ** (1 / shape.filter((extent) => extent === AXIS).length));
  }
  if (!Number.isInteger(n) || n < 1 || n > entry.most) refuse(`the axis ${AXIS} has ${kind(n)} elements; 1 to ${entry.most} are possible`);
  return n;
}

function checkTensor(port, array, n) {
  const wanted = elements(port, n);
  if (array.length !== wanted) refuse(`the input ${port.name} has ${array.length} elements; ${wanted} are expected, of shape [${port.shape}] with ${AXIS} = ${n}`);
  if (isFloat(port) || !port.values) return;
  const [low, high] = port.values;
  const wrong = array.find((value) => value < low || value > high);
  if (wrong !== undefined) refuse(`the input ${port.name} has the value ${wrong}; ${low} to ${high} are possible`);
}

// ---- the call ----

const aligned = (size) => Math.ceil(size / 64) * 64;

/** Run an entry with checked inputs: name of a result to its array. */
export function callEntry(module, session, entry, tensors, n) {
  const encoder = new TextEncoder();
  const ports = [...entry.inputs, ...entry.results];
  const names = [entry, ...ports].map(({ name }) => encoder.encode(`${name}\0`));
  const sizes = ports.map((port) => 4 * elements(port, n));
  let end = aligned(INFO_BYTES * ports.length);
  const place = (size) => (end += aligned(size)) - aligned(size);
  const namesAt = names.map((name) => place(name.length));
  const dataAt = sizes.map(place);
  const base = module.allocate(end);
  try {
    names.forEach((name, i) => module.bytes(base + namesAt[i], name.length).set(name));
    const table = new DataView(module.memory.buffer, base, INFO_BYTES * ports.length);
    ports.forEach((port, i) => [base + namesAt[i + 1], base + dataAt[i], sizes[i]].forEach((value, k) => table.setUint32(INFO_BYTES * i + 4 * k, value, true)));
    tensors.forEach((array, i) => new (arrayOf(entry.inputs[i]))(module.memory.buffer, base + dataAt[i], array.length).set(array));
    const count = entry.inputs.length;
    module.call("chm_session_call", session, base + namesAt[0], base, count, base + INFO_BYTES * count, entry.results.length, n);
    return Object.fromEntries(entry.results.map((port, i) => {
      const array = new (arrayOf(port))(module.memory.buffer, base + dataAt[count + i], elements(port, n));
      return [port.name, arrayOf(port).from(array)];
    }));
  } finally {
    module.release(base, end);
  }
}

// ---- the self-test: docs/bundle.md ----

/** The inputs of a call of the self-test: numbers that only depend on the place of an element. */
export function drawn(entry, call, n) {
  return Object.fromEntries(entry.inputs.map((port, index) => [port.name, drawnTensor(port, 31 * call + index, n)]));
}

function drawnTensor(port, key, n) {
  const start = (Math.imul(key, 0x85ebca77) + 0x165667b1) | 0;
  const [low, high] = port.values ?? [0, 7];
  return arrayOf(port).from({ length: elements(port, n) }, (_, i) => {
    let x = (Math.imul(i, 0x9e3779b1) + start) | 0;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    x = (x ^ (x >>> 16)) >>> 0;
    return isFloat(port) ? (x >>> 8) * 2 ** -23 - 1 : low + (x % (high - low + 1));
  });
}

/** 64-bit hash of a result: zeros have no sign, and what is not a number has the same bits everywhere. */
export function hashOf(result) {
  const words = new Uint32Array(2 * Math.ceil(result.length / 2));
  words.set(new Uint32Array(result.buffer, result.byteOffset, result.length));
  if (result instanceof Float32Array) result.forEach((value, i) => { if (value === 0 || Number.isNaN(value)) words[i] = value === 0 ? 0 : 0x7fc00000; });
  let hash = 0xcbf29ce484222325n;
  for (let i = 0; i < words.length; i += 2) {
    hash = BigInt.asUintN(64, (hash ^ ((BigInt(words[i + 1]) << 32n) | BigInt(words[i]))) * 0x9e3779b97f4a7c15n);
    hash ^= hash >> 32n;
  }
  return hash;
}
