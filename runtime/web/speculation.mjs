// Guessed tokens: the bank of spans that they come from, and what guessing did for a generation.
import { errorOf } from "./errors.mjs";

const SOURCES = ["text", "grammar", "drafter", "begun", "following", "near", "loose", "head"];
const OLD_SOURCES = ["text", "grammar", "drafter", "bank"]; // of modules that cannot tell more
const SKIP_CHECKSUMS = 1; // the SHA-256 of the bundle's file was compared

const SHARES = { near: 256, grammar: 256, text: 256, head: 256, nearness: 2 ** 20, boundary: 2 ** 20 }; // the most of each, in the order of chm_session_set_shares

/** What is wrong with the manifest's shares of sources, or null. */
export function sharesProblem(shares) {
  const wrong = ([name, most]) => !Number.isInteger(shares?.[name]) || shares[name] < 0 || shares[name] > most;
  const [name, most] = Object.entries(SHARES).find(wrong) ?? [];
  return name ? `shares.${name} is no number up to ${most}` : null;
}

/** Let a session ask the sources of guesses for as many as the manifest says, if it does. A module of before has fixed numbers. */
export function useShares(module, session, shares) {
  if (!shares || !module.exports.chm_session_set_shares || module.exports.chm_speculates?.() !== 1) return;
  const names = Object.keys(SHARES);
  module.withBytes(new Uint8Array(Uint32Array.from(names, (name) => shares[name]).buffer), (pointer) => module.call("chm_session_set_shares", session, pointer, names.length));
}

/** Let a session guess from the bundle's bank, { pointer, bytes } or null, too; its handle, or 0. */
export function useSpans(module, bundle, session, scratch, file) {
  if (!file) return 0;
  module.call("chm_bank_open", bundle, file.pointer, file.bytes, SKIP_CHECKSUMS, 0, scratch);
  const bank = module.number(scratch);
  module.call("chm_session_set_bank", session, bank);
  return bank;
}

/** Let a session read a memory, or none; gives the place of the vectors, which that of before was. `given`: bytes of a vector, if that is known. */
export function useMemory(module, session, vectors, given, before) {
  const width = module.exports.chm_reads_memory?.() ?? 0;
  const size = vectors?.length ?? 0;
  if (size && !width) throw errorOf("CHM421", "the model reads no memory");
  if (size && given && given !== width) throw errorOf("CHM420", `vectors of this model have ${width} bytes, not ${given}`);
  if (size % (width || 1)) throw errorOf("CHM420", `vectors of this model have ${width} bytes, and a memory of ${size} has no whole number of them`);
  if (!width) return null;
  const place = size ? { pointer: module.allocate(size), size } : null;
  if (place) module.bytes(place.pointer, size).set(vectors);
  try {
    module.call("chm_session_set_memory", session, place?.pointer ?? 0, width, size / width);
  } catch (error) {
    if (place) module.release(place.pointer, size);
    throw error;
  }
  if (before) module.release(before.pointer, before.size);
  return place;
}

const REJECTED = ["damaged", "risk", "grammar"]; // as CHM_REJECTED

function countsOf(module, session, name, count) {
  return module.withBytes(new Uint8Array(8 * count), (pointer) => {
    module.call(name, session, pointer, count);
    const view = new DataView(module.memory.buffer, pointer, 8 * count);
    return Array.from({ length: count }, (_, i) => Number(view.getBigUint64(8 * i, true)));
  });
}

/** Those of the names that something was counted of; a module of before counts nothing. */
function countedOf(module, session, name, names) {
  if (!module.exports[name]) return {};
  const counts = countsOf(module, session, name, names.length);
  return Object.fromEntries(names.map((one, i) => [one, counts[i]]).filter(([, count]) => count));
}

/** { passes, rollbacks, proposed, accepted, sources, wrong, rejected } of the last generation; null of a bundle that guesses nothing. */
export function speculationOf(module, session) {
  if (module.exports.chm_speculates?.() !== 1) return null;
  const known = module.exports.chm_has_draft_head ? SOURCES : SOURCES.slice(0, -1);
  const sources = module.exports.chm_session_costs ? known : OLD_SOURCES;
  const count = 4 + 2 * sources.length; // as CHM_COUNTERS of chimera.h
  const [passes, rollbacks, proposed, accepted, ...pairs] = countsOf(module, session, "chm_session_counters", count);
  const rows = sources.map((name, i) => [name, { proposed: pairs[2 * i], accepted: pairs[2 * i + 1] }]);
  const guessed = Object.fromEntries(rows.filter(([, row]) => row.proposed));
  const wrong = countedOf(module, session, "chm_session_rollbacks", known);
  const rejected = countedOf(module, session, "chm_session_rejected", REJECTED);
  return { passes, rollbacks, proposed, accepted, sources: guessed, wrong, rejected };
}
