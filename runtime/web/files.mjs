// The files of a bundle: bytes read from a server or memory, and verified.
import { checkBytes } from "./arguments.mjs";
import { ChimeraError } from "./errors.mjs";
import { MAX_MANIFEST_BYTES, parseManifest } from "./manifest.mjs";
import { sha256 } from "./sha256.mjs";

function refuseHtml(bytes, where) {
  const start = new TextDecoder().decode(bytes.subarray(0, 64)).trimStart().toLowerCase();
  if (start.startsWith("<!doctype") || start.startsWith("<html")) {
    throw new ChimeraError("CHM412", `the server sent an HTML page for ${where}`);
  }
}

// ---- reading files ----

async function fetchResponse(url, signal, cache = "default") {
  let response;
  try {
    response = await fetch(url, { signal, cache });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ChimeraError("CHM400", `cannot fetch ${url}: ${error.message}`);
  }
  if (!response.ok) throw new ChimeraError("CHM400", `cannot fetch ${url}: ${response.status} ${response.statusText}`);
  return response;
}

/** The manifest at a URL, read no further than a manifest may be long. */
export async function fetchManifest(url, signal) {
  const response = await fetchResponse(url, signal);
  const reader = response.body.getReader();
  const bytes = new Uint8Array(MAX_MANIFEST_BYTES + 1);
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const room = value.subarray(0, bytes.length - length);
    bytes.set(room, length);
    length += room.length;
    if (length === bytes.length) {
      await reader.cancel();
      break;
    }
  }
  refuseHtml(bytes.subarray(0, length), url);
  return parseManifest(bytes.subarray(0, length), url);
}

/** Fill `target()` (called after each wait, because memory may move) with the body, which must have its exact size. */
async function readBody(url, size, target, report, signal, cache) {
  const response = await fetchResponse(url, signal, cache);
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

async function verify(file, bytes, signal) {
  if (bytes.length !== file.bytes) {
    throw new ChimeraError("CHM412", `${file.name} has ${bytes.length} bytes, the manifest says ${file.bytes}`);
  }
  if ((await sha256(bytes, signal)) !== file.sha256) {
    throw new ChimeraError("CHM412", `${file.name} is damaged: its SHA-256 differs from the manifest`);
  }
}

/**
 * A source answers `has(file)` and `fill(file, target, report)`: put the file's bytes, verified, where target() points.
 * A response that is not the file is asked for once more, past the caches: a damaged one in there would stay for good.
 */
export function urlSource(base, signal) {
  const once = async (file, target, report, cache) => {
    await readBody(new URL(file.name, base), file.bytes, target, report, signal, cache);
    await verify(file, target(), signal);
  };
  return {
    has: () => true,
    fill: async (file, target, report) => {
      try {
        await once(file, target, report, "default");
      } catch (error) {
        if (error.code !== "CHM412") throw error;
        await once(file, target, report, "reload");
      }
    },
  };
}

export function memorySource(parts, signal) {
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
      await verify(file, target(), signal);
    },
  };
}
