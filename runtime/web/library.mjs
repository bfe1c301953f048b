// The bundles that are kept: an entry for each, with its manifest, and the parts of its files, which bundles share.
import { sha256 } from "./sha256.mjs";
import { openStores } from "./store.mjs";

const ENTRY = "bundle.";

/** Of the address of a folder or of its manifest: { base, url }, of the folder and of the manifest, by which a bundle is kept. */
export function addressesOf(address) {
  const url = new URL(address);
  url.hash = "";
  if (!url.pathname.endsWith(".json")) url.pathname += url.pathname.endsWith("/") ? "manifest.json" : "/manifest.json";
  return { base: new URL("./", url), url };
}

/** Parts of a file, which are downloaded, compared and kept one by one: { name, offset, size, sha256 }. */
export function partsOf(file) {
  const { bytes, chunks } = file;
  if (!chunks) return [{ name: `${file.sha256}.0`, offset: 0, size: bytes, sha256: file.sha256 }];
  return chunks.sha256.map((digest, index) => {
    const offset = index * chunks.bytes;
    return { name: `${file.sha256}.${index}`, offset, size: Math.min(chunks.bytes, bytes - offset), sha256: digest };
  });
}

const entryName = async (url) => ENTRY + (await sha256(new TextEncoder().encode(String(url))));

/** What is known of a bundle: { url, manifest: text, files: names of those in use, complete }, or null. */
export async function readEntry(store, url) {
  return parse(await store.get(await entryName(url)));
}

function parse(bytes) {
  try {
    const entry = JSON.parse(new TextDecoder().decode(bytes ?? new Uint8Array()));
    return typeof entry.url === "string" && typeof entry.manifest === "string" && Array.isArray(entry.files) ? entry : null;
  } catch {
    return null;
  }
}

export async function writeEntry(store, entry) {
  await store.put(await entryName(entry.url), new TextEncoder().encode(JSON.stringify(entry)));
}

async function entriesOf(store, names) {
  const entries = await Promise.all(names.filter((name) => name.startsWith(ENTRY)).map(async (name) => parse(await store.get(name))));
  return entries.filter(Boolean);
}

/** The parts that an entry needs. */
function needed({ manifest, files }) {
  return JSON.parse(manifest).files.filter(({ name }) => files.includes(name)).flatMap(partsOf);
}

/** Delete the parts that no entry needs. */
export async function sweep(store) {
  const names = await store.names();
  const kept = new Set((await entriesOf(store, names)).flatMap(needed).map(({ name }) => name));
  for (const name of names) if (!name.startsWith(ENTRY) && !kept.has(name)) await store.delete(name);
}

/** The bundles that are kept here, whole or in part: { url, name, kind, bytes, stored, complete }. */
export async function cached() {
  const found = [];
  for (const store of await openStores()) {
    const names = await store.names();
    for (const entry of await entriesOf(store, names)) {
      const parts = needed(entry);
      const sum = (some) => some.reduce((total, { size }) => total + size, 0);
      const stored = sum(parts.filter(({ name }) => names.includes(name)));
      const { name } = JSON.parse(entry.manifest);
      const bytes = sum(parts);
      found.push({ url: entry.url, name, kind: store.kind, bytes, stored, complete: Boolean(entry.complete) && stored === bytes });
    }
  }
  return found;
}

/** Forget the bundle of an address; false where it was not kept. */
export async function forget(url) {
  let found = false;
  for (const store of await openStores()) {
    if (!(await readEntry(store, url))) continue;
    found = true;
    await store.delete(await entryName(url));
    await sweep(store);
  }
  return found;
}
