// What is kept between visits: parts of files by name, in the origin's private file system or in the Cache API.
import { isWorker } from "./workers.mjs";

const FOLDER = "chimera";
const KEY = "https://chimera.invalid/"; // before names; nothing is ever asked for there

/** The origin private file system. Parts are whole files: one that a crash cut off has a wrong size, or a wrong SHA-256. */
class FileStore {
  kind = "opfs";
  #folder;

  static async open() {
    const root = await navigator.storage.getDirectory();
    const found = new FileStore();
    found.#folder = await root.getDirectoryHandle(FOLDER, { create: true });
    const has = (method) => typeof FileSystemFileHandle.prototype[method] === "function";
    if (!has("createWritable") && !has("createSyncAccessHandle")) throw new Error("files cannot be written");
    return found;
  }

  async get(name) {
    try {
      const handle = await this.#folder.getFileHandle(name);
      return new Uint8Array(await (await handle.getFile()).arrayBuffer());
    } catch {
      return null; // it is not there, or another tab is writing it
    }
  }

  async put(name, bytes) {
    const handle = await this.#folder.getFileHandle(name, { create: true });
    if (handle.createSyncAccessHandle && isWorker()) {
      const access = await handle.createSyncAccessHandle();
      try {
        access.truncate(0);
        access.write(bytes, { at: 0 });
        access.flush();
      } finally {
        access.close();
      }
      return;
    }
    const writable = await handle.createWritable();
    await writable.write(bytes);
    await writable.close();
  }

  async delete(name) {
    await this.#folder.removeEntry(name).catch(() => {}); // it was not there
  }

  async names() {
    const found = [];
    for await (const name of this.#folder.keys()) found.push(name);
    return found;
  }
}

class CacheStore {
  kind = "cache";
  #cache;

  static async open() {
    const found = new CacheStore();
    found.#cache = await caches.open(FOLDER);
    return found;
  }

  async get(name) {
    const response = await this.#cache.match(KEY + name);
    return response ? new Uint8Array(await response.arrayBuffer()) : null;
  }

  async put(name, bytes) {
    await this.#cache.put(KEY + name, new Response(bytes));
  }

  async delete(name) {
    await this.#cache.delete(KEY + name);
  }

  async names() {
    await caches.has(FOLDER); // without it WebKit may know of no keys of a cache that was just opened
    return (await this.#cache.keys()).map(({ url }) => url.slice(KEY.length));
  }
}

const KINDS = { opfs: FileStore, cache: CacheStore };

/** The store of a kind; throws where it is not there. */
export const openStore = (kind) => KINDS[kind].open();

/** The stores that are here, best first; at most so many. */
export async function openStores(most = Infinity) {
  const found = [];
  for (const kind of Object.keys(KINDS)) {
    if (found.length === most) break;
    try {
      found.push(await openStore(kind));
    } catch {
      // not in this browser, or not here: without https, in a private window
    }
  }
  return found;
}

/** Bytes that the origin may store on top of what it has, as far as the browser says. */
export async function roomLeft() {
  try {
    const { quota, usage } = await navigator.storage.estimate();
    return Math.max(0, quota - usage);
  } catch {
    return Infinity;
  }
}

/** Run `work` while no other tab of the origin runs some of this name. */
export function alone(name, signal, work) {
  const locks = globalThis.navigator?.locks;
  return locks ? locks.request(`chimera ${name}`, signal ? { signal } : {}, work) : work();
}
