// The files of a bundle: its manifest, checked, and the bytes of the others, read from a server or memory and verified.
import { checkBytes } from "./arguments.mjs";
import { ChimeraError } from "./errors.mjs";
import { sha256 } from "./sha256.mjs";

const MANIFEST_SCHEMA = 1;
const ABI_MAJOR = 1;
const FILE_NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$/;

// ---- manifest ----

export function checkManifest(manifest) {
  const need = (condition, what) => {
    if (!condition) throw new ChimeraError("CHM410", `the manifest is not valid: ${what}`);
  };
  need(manifest !== null && typeof manifest === "object", "not an object");
  const madeBy = `the bundle was made by chimerac ${manifest.chimerac ?? "(unknown)"}; build it again`;
  if (manifest.schema !== MANIFEST_SCHEMA) {
    throw new ChimeraError("CHM411", `manifest version ${manifest.schema}, this loader reads ${MANIFEST_SCHEMA}; ${madeBy}`);
  }
  if (String(manifest.abi).split(".")[0] !== String(ABI_MAJOR)) {
    throw new ChimeraError("CHM405", `bundle version ${manifest.abi}, this loader reads ${ABI_MAJOR}.x; ${madeBy}`);
  }
  need(Array.isArray(manifest.files) && manifest.files.length <= 65536, "files");
  for (const file of manifest.files) {
    need(file && FILE_NAME.test(file.name), "a file name");
    need(Number.isSafeInteger(file.bytes) && file.bytes >= 0, `the size of ${file.name}`);
    need(/^[0-9a-f]{64}$/.test(file.sha256), `the SHA-256 of ${file.name}`);
  }
  for (const role of ["code", "weights"]) need(manifest.files.filter((file) => file.role === role).length === 1, `role ${role}`);
  checkGeneration(manifest.generation ?? {}, need);
  if (!String(manifest.target).startsWith("wasm32")) {
    throw new ChimeraError("CHM413", `the bundle is for ${manifest.target}, not for wasm`);
  }
  return manifest;
}

function checkGeneration(generation, need) {
  const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  need(isObject(generation), "generation");
  const ranges = { temperature: [0, 100], top_p: [0, 1], repetition_penalty: [0.1, 10], exit_threshold: [0, 1], max_tokens: [0, 0x7fffffff] };
  for (const [name, [low, high]] of Object.entries(ranges)) {
    const value = generation[name] ?? low;
    const whole = name !== "max_tokens" || Number.isInteger(value);
    need(typeof value === "number" && value >= low && value <= high && whole, `generation.${name}`);
  }
  const modes = generation.modes ?? {};
  need(isObject(modes), "generation.modes");
  for (const [name, mode] of Object.entries(modes)) {
    need(Number.isInteger(mode?.loops) && mode.loops >= 1 && mode.loops <= 0x7fffffff, `the mode ${name}`);
  }
}

export const fileOf = (manifest, role) => manifest.files.find((file) => file.role === role);

export function parseManifest(bytes, where) {
  refuseHtml(bytes, where);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new ChimeraError("CHM410", `${where} is not JSON`);
  }
}

function refuseHtml(bytes, where) {
  const start = new TextDecoder().decode(bytes.subarray(0, 64)).trimStart().toLowerCase();
  if (start.startsWith("<!doctype") || start.startsWith("<html")) {
    throw new ChimeraError("CHM412", `the server sent an HTML page for ${where}`);
  }
}

// ---- reading files ----

export async function fetchResponse(url, signal) {
  let response;
  try {
    response = await fetch(url, { signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ChimeraError("CHM400", `cannot fetch ${url}: ${error.message}`);
  }
  if (!response.ok) throw new ChimeraError("CHM400", `cannot fetch ${url}: ${response.status} ${response.statusText}`);
  return response;
}

/** Fill `target()` (called after each wait, because memory may move) with the body, which must have its exact size. */
async function readBody(url, size, target, report, signal) {
  const response = await fetchResponse(url, signal);
  const reader = response.body.getReader();
  let loaded = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (loaded === 0) refuseHtml(value, url);
    if (loaded + value.length > size) {
      await reader.cancel();
      throw new ChimeraError("CHM412", `${url} has more than the ${size} bytes that the manifest says`);
    }
    target().set(value, loaded);
    loaded += value.length;
    report(loaded);
  }
  if (loaded !== size) throw new ChimeraError("CHM412", `${url} has ${loaded} bytes, the manifest says ${size}`);
}

export async function verify(file, bytes, signal) {
  if (bytes.length !== file.bytes) {
    throw new ChimeraError("CHM412", `${file.name} has ${bytes.length} bytes, the manifest says ${file.bytes}`);
  }
  if ((await sha256(bytes, signal)) !== file.sha256) {
    throw new ChimeraError("CHM412", `${file.name} is damaged: its SHA-256 differs from the manifest`);
  }
}

/** A source answers `has(file)` and `fill(file, target, report)`: put the file's bytes where target() points. */
export function urlSource(base, signal) {
  return {
    has: () => true,
    fill: (file, target, report) => readBody(new URL(file.name, base), file.bytes, target, report, signal),
  };
}

export function memorySource(parts) {
  const find = (file) => (file.role === "variant" ? parts.variants?.[file.name] : parts[file.role === "code" ? "wasm" : file.role]);
  return {
    has: (file) => Boolean(find(file)),
    async fill(file, target, report) {
      const part = find(file);
      if (!part) throw new ChimeraError("CHM412", `the bytes of ${file.name} (${file.role}) are missing`);
      const bytes = checkBytes(part, file.name);
      if (bytes.length !== file.bytes) {
        throw new ChimeraError("CHM412", `${file.name} has ${bytes.length} bytes, the manifest says ${file.bytes}`);
      }
      target().set(bytes);
      report(bytes.length);
    },
  };
}
