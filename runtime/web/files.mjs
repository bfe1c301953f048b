// The files of a bundle, part by part, each compared with the manifest before anybody sees it: from a server and what is kept of
// it, from a folder (Node), from memory. A source has `manifest()`, `newer()`, `has(file)`, `read(file, take, report)`, `storage`, `end()`:
// take(offset, bytes) gets the parts, in any order; report(loaded) is told of the file's bytes so far.
import { checkBytes } from "./arguments.mjs";
import { ChimeraError, IntegrityError, ManifestError, MemoryError, NetworkError, QuotaError } from "./errors.mjs";
import { partsOf, readEntry, sweep, writeEntry } from "./library.mjs";
import { MAX_MANIFEST_BYTES, parseManifest } from "./manifest.mjs";
import { RangesIgnored } from "./network.mjs";
import { sha256 } from "./sha256.mjs";
import { alone, openStore, openStores, roomLeft } from "./store.mjs";

const LANES = 6; // requests at a time: what browsers open to a server
const OFFLINE_MS = 3000; // to wait for the manifest of a bundle that is kept

/** Run `work` on all items, some at a time; the first failure ends it. */
async function inLanes(items, work) {
  const rest = items.values();
  let failed = false;
  const lane = async () => {
    for (const item of rest) {
      if (failed) return;
      try {
        await work(item);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(LANES, items.length) }, lane));
}

/** Memory for a part; not every browser has as much in one piece as the manifest of a forged bundle may ask for. */
export function room(name, size) {
  try {
    return new Uint8Array(size);
  } catch (cause) {
    throw new MemoryError(`there is no memory for the ${size} bytes of ${name}`, { cause });
  }
}

const isPart = async (part, bytes, signal) => bytes?.length === part.size && (await sha256(bytes, signal)) === part.sha256;
const damaged = (name) => new IntegrityError(`${name} is damaged: its SHA-256 differs from the manifest`);

// ---- a server ----

/** A bundle on a server, by a Network. addressOf(file): of one of the manifest's files; cache: as of Chimera.load(). */
export class ServerSource {
  storage = { kind: "memory", downloaded: 0, cached: 0 };
  #addressOf;
  #url;
  #network;
  #signal;
  #wanted;
  #store = null;
  #ranges = true; // whether the server sends parts
  #entry = null;
  #known = null; // the entry as it was kept
  #newer = Promise.resolve(null);

  constructor(url, addressOf, network, { signal, cache = "auto" }) {
    this.#url = url;
    this.#addressOf = addressOf;
    this.#network = network;
    this.#signal = signal;
    this.#wanted = cache;
  }

  async #openStore() {
    if (this.#wanted === "memory") return;
    if (this.#wanted === "auto") [this.#store = null] = await openStores(1);
    else {
      try {
        this.#store = await openStore(this.#wanted);
      } catch (cause) {
        throw new QuotaError(`this browser has no storage of the kind ${this.#wanted} here`, { cause });
      }
    }
    if (this.#store) this.storage.kind = this.#store.kind;
    else this.storage.reason = "there is no storage here";
  }

  /** Go on without the store, unless the caller named it. */
  #leaveStore(reason, cause) {
    if (this.#wanted !== "auto") throw new QuotaError(reason, { cause });
    this.#store = null;
    Object.assign(this.storage, { kind: "memory", reason });
  }

  /** The manifest that is kept of a whole bundle, while the server is asked for its own, else the server's; from the bytes of newer() where they are given. */
  async manifest(newer = null) {
    if (newer) return this.#read(newer);
    await this.#openStore();
    this.#known = this.#store && (await readEntry(this.#store, this.#url));
    const ask = (network) => network.text(this.#url, MAX_MANIFEST_BYTES, "no-cache");
    if (!this.#known?.complete) return this.#read(await ask(this.#network));
    this.#newer = ask(this.#network.patience(0, OFFLINE_MS)).then(
      (bytes) => (new TextDecoder().decode(bytes) === this.#known.manifest ? null : bytes),
      (error) => {
        if (error instanceof NetworkError || error.status >= 500) return null;
        throw error;
      },
    );
    this.#newer.catch(() => {}); // newer() tells
    return this.#read(new TextEncoder().encode(this.#known.manifest));
  }

  /** The bytes of the server's manifest where it is another than the one that is kept; null where the server is out of reach or order, too. */
  newer() {
    return this.#newer;
  }

  #read(bytes) {
    const manifest = parseManifest(bytes, this.#url);
    const text = new TextDecoder().decode(bytes);
    const known = this.#known;
    this.storage = { ...this.storage, downloaded: 0, cached: 0 };
    this.#entry = { url: String(this.#url), manifest: text, files: [], changed: Boolean(known) && known.manifest !== text, before: known?.files ?? [] };
    return manifest;
  }

  has() {
    return true;
  }

  /** Look whether there is room for the files that are about to be read. */
  async prepare(files) {
    if (!this.#store) return;
    const own = files.map(({ name }) => name);
    const { changed, before } = this.#entry;
    this.#entry.files = changed ? own : [...new Set([...before, ...own])];
    if (this.#isKept()) return;
    const names = new Set(await this.#store.names());
    const parts = files.flatMap(partsOf).filter(({ name }) => !names.has(name));
    const missing = parts.reduce((sum, { size }) => sum + size, 0);
    const left = await roomLeft();
    if (missing > left) {
      this.#leaveStore(`${missing} bytes are to be kept, and the browser has room for ${Math.floor(left)}`);
      return;
    }
    await this.#keep(() => this.#writeEntry(false));
  }

  /** Whether the entry says already what it is to say at the end. */
  #isKept() {
    return Boolean(this.#known?.complete) && !this.#entry.changed && this.#entry.files.length === this.#known.files.length;
  }

  async #writeEntry(complete) {
    const { url, manifest, files } = this.#entry;
    await writeEntry(this.#store, { url, manifest, files, complete });
  }

  async #keep(write) {
    try {
      if (this.#store) await write();
    } catch (error) {
      if (error.name === "QuotaExceededError") this.#leaveStore("the browser's storage is full", error);
      // else another tab writes the same, or the storage is broken: what is not kept is downloaded again
    }
  }

  async end() {
    if (this.#isKept()) return;
    await this.#keep(async () => {
      await this.#writeEntry(true);
      if (this.#entry.changed) await sweep(this.#store);
    });
  }

  async read(file, take, report) {
    const loaded = new Map();
    const { storage } = this; // of this attempt
    const told = (part, bytes, from = "", more = 0) => {
      if (from) storage[from] += more;
      loaded.set(part.name, bytes);
      report([...loaded.values()].reduce((sum, one) => sum + one, 0));
    };
    const parts = partsOf(file);
    const taken = new Set();
    const give = async (part, bytes) => {
      told(part, part.size);
      taken.add(part);
      await take(part.offset, bytes);
    };
    if (this.#store) {
      try {
        await inLanes(parts, async (part) => give(part, await this.#kept(file, part, told)));
        return;
      } catch (error) {
        if (!(error instanceof RangesIgnored)) throw error;
        this.#ranges = false;
      }
    }
    await this.#stream(file, parts, { taken, told, give });
  }

  /** A part from the store, else from the server, in one tab at a time. */
  async #kept(file, part, told) {
    return (await this.#stored(part, told)) ?? alone(part.name, this.#signal, async () => {
      const kept = await this.#stored(part, told); // another tab may have brought it
      if (kept) return kept;
      if (part.size < file.bytes && !this.#ranges) throw new RangesIgnored();
      for (const cache of ["no-store", "reload"]) {
        const bytes = await this.#part(file, part, cache, told).catch((error) => {
          if (error instanceof IntegrityError && cache === "no-store") return null;
          throw error;
        });
        if (!(await isPart(part, bytes, this.#signal))) continue;
        await this.#keep(() => this.#store.put(part.name, bytes));
        return bytes;
      }
      throw damaged(file.name);
    });
  }

  async #stored(part, told) {
    const kept = await this.#store?.get(part.name);
    if (!(await isPart(part, kept, this.#signal))) return null;
    told(part, part.size, "cached", part.size);
    return kept;
  }

  async #part(file, part, cache, told) {
    const bytes = room(file.name, part.size);
    let length = 0;
    const [start, end] = [part.offset, part.offset + part.size];
    for await (const piece of this.#network.pieces(this.#addressOf(file), { start, end, size: file.bytes, cache, skip: part.size === file.bytes })) {
      bytes.set(piece, length);
      length += piece.length;
      told(part, length, "downloaded", piece.length);
    }
    return bytes;
  }

  /** All parts of a file that are not taken yet from one body. One that is not the file is asked for once more, past the caches. */
  async #stream(file, parts, { taken, told, give }) {
    const left = parts.filter((part) => !taken.has(part));
    for (let cache = "default"; left.length; cache = "reload") {
      try {
        for await (const [part, bytes] of this.#streamed(file, left, cache, told)) {
          if (!(await isPart(part, bytes, this.#signal))) throw damaged(file.name);
          await this.#keep(() => this.#store.put(part.name, bytes));
          await give(part, bytes);
          left.shift();
        }
      } catch (error) {
        if (!(error instanceof IntegrityError) || cache === "reload") throw error;
      }
    }
  }

  /** The parts that are left, in their order, as their bytes come in. */
  async *#streamed(file, left, cache, told) {
    const wanted = [...left];
    const start = wanted[0].offset;
    let part = wanted.shift();
    let bytes = room(file.name, part.size);
    if (!file.bytes) yield [part, bytes];
    let at = start;
    for await (let piece of this.#network.pieces(this.#addressOf(file), { start, end: file.bytes, size: file.bytes, cache, skip: true })) {
      if (part) told(part, Math.max(0, at - part.offset), "downloaded", piece.length);
      while (part && piece.length) {
        const before = Math.max(0, part.offset - at); // of a part that is here already
        const some = piece.subarray(before, before + part.offset + part.size - Math.max(at, part.offset));
        if (some.length) bytes.set(some, Math.max(at, part.offset) - part.offset);
        at += Math.min(piece.length, before) + some.length;
        piece = piece.subarray(Math.min(piece.length, before) + some.length);
        told(part, Math.max(0, at - part.offset));
        if (at < part.offset + part.size) continue;
        yield [part, bytes];
        part = wanted.shift();
        bytes = part && room(file.name, part.size);
      }
    }
  }
}

// ---- a folder, in Node ----

export class FolderSource {
  storage = { kind: "file", downloaded: 0, cached: 0 };
  #url;
  #base;
  #files;
  #signal;

  constructor(url, base, { signal }) {
    this.#url = url;
    this.#base = base;
    this.#files = globalThis.process.getBuiltinModule("fs/promises");
    this.#signal = signal;
  }

  async #opened(url, Kind, use) {
    let handle;
    try {
      handle = await this.#files.open(url);
      return await use(handle);
    } catch (cause) {
      if (cause instanceof ChimeraError || this.#signal?.aborted) throw cause;
      throw new Kind(`cannot read ${decodeURIComponent(url.pathname)}: ${cause.code ?? cause.message}`, { cause });
    } finally {
      await handle?.close();
    }
  }

  async manifest() {
    const bytes = await this.#opened(this.#url, ManifestError, async (handle) => {
      const { size } = await handle.stat();
      return readAt(handle, 0, room("the manifest", Math.min(size, MAX_MANIFEST_BYTES + 1)));
    });
    return parseManifest(bytes, decodeURIComponent(this.#url.pathname));
  }

  has() {
    return true;
  }

  async prepare() {}

  async newer() {
    return null;
  }

  async end() {}

  async read(file, take, report) {
    await this.#opened(new URL(file.name, this.#base), IntegrityError, async (handle) => {
      const { size } = await handle.stat();
      if (size !== file.bytes) throw new IntegrityError(`${file.name} has ${size} bytes, the manifest says ${file.bytes}`);
      for (const part of partsOf(file)) {
        const bytes = await readAt(handle, part.offset, room(file.name, part.size));
        this.#signal?.throwIfAborted();
        if (!(await isPart(part, bytes, this.#signal))) throw damaged(file.name);
        await take(part.offset, bytes);
        report(part.offset + part.size);
      }
    });
  }
}

async function readAt(handle, offset, bytes) {
  let length = 0;
  while (length < bytes.length) {
    const { bytesRead } = await handle.read(bytes, length, bytes.length - length, offset + length);
    if (!bytesRead) return bytes.subarray(0, length);
    length += bytesRead;
  }
  return bytes;
}

// ---- memory ----

export class MemorySource {
  storage = { kind: "bytes", downloaded: 0, cached: 0 };
  #parts;
  #signal;

  constructor(parts, { signal }) {
    this.#parts = parts;
    this.#signal = signal;
  }

  async manifest() {
    const given = this.#parts.manifest;
    const isBytes = given instanceof ArrayBuffer || ArrayBuffer.isView(given);
    if (isBytes) return parseManifest(new Uint8Array(given.buffer ?? given, given.byteOffset ?? 0, given.byteLength), "the manifest");
    return typeof given === "string" ? parseManifest(new TextEncoder().encode(given), "the manifest") : given;
  }

  #find(file) {
    return file.role === "variant" ? this.#parts.variants?.[file.name] : this.#parts[file.role === "code" ? "wasm" : file.role];
  }

  has(file) {
    return Boolean(this.#find(file));
  }

  async prepare() {}

  async newer() {
    return null;
  }

  async end() {}

  async read(file, take, report) {
    const given = this.#find(file);
    if (!given) throw new IntegrityError(`the bytes of ${file.name} (${file.role}) are missing`);
    const bytes = checkBytes(given, file.name);
    if (bytes.length !== file.bytes) throw new IntegrityError(`${file.name} has ${bytes.length} bytes, the manifest says ${file.bytes}`);
    for (const part of partsOf(file)) {
      const some = bytes.subarray(part.offset, part.offset + part.size);
      if (!(await isPart(part, some, this.#signal))) throw damaged(file.name);
      await take(part.offset, some);
      report(part.offset + part.size);
    }
  }
}
