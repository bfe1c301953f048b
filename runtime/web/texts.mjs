// Texts to tokens, by the tokenizer in the module; long texts in parts.
import { pauses } from "./slices.mjs";

const PART_BYTES = 1 << 15; // of a text, which take some milliseconds to encode

/** Tokens that so many bytes have at most; a module of before has one a byte at most, and no other functions of this kind. */
const roomOf = (module, bundle, bytes) => module.exports.chm_tokenizer_room?.(bundle, bytes) ?? bytes;

function nameOf(module, { specials, begins }) {
  if (specials) return "chm_tokenizer_encode_with_specials";
  return begins || !module.exports.chm_tokenizer_encode_more ? "chm_tokenizer_encode" : "chm_tokenizer_encode_more";
}

/** Tokens of a text as Int32Array; scratch: 4 bytes of the module's memory. */
export function encodeText(module, bundle, scratch, bytes, options) {
  const room = roomOf(module, bundle, bytes.length);
  return module.withBytes(bytes, (pointer) => {
    const tokens = module.allocate(4 * Math.max(1, room));
    try {
      module.call(nameOf(module, options), bundle, pointer, bytes.length, tokens, room, scratch);
      return new Int32Array(module.memory.buffer, tokens, module.number(scratch)).slice();
    } finally {
      module.release(tokens, 4 * Math.max(1, room));
    }
  });
}

/** The same, in parts between which the event loop has its turn; live() is the module, or throws; scratch: 8 bytes. */
export async function encodeInParts(live, bundle, scratch, bytes, { begins, signal }) {
  const module = live();
  if (bytes.length <= PART_BYTES || !begins || !module.exports.chm_tokenizer_encode_part) {
    return encodeText(module, bundle, scratch, bytes, { specials: false, begins });
  }
  const room = roomOf(module, bundle, bytes.length);
  const [source, tokens] = [module.allocate(bytes.length), module.allocate(4 * room)];
  try {
    module.bytes(source, bytes.length).set(bytes);
    const pause = pauses();
    const [at, count] = [scratch, scratch + 4];
    for (let place = 0, done = 0; ;) {
      new DataView(module.memory.buffer).setUint32(at, place, true);
      module.call("chm_tokenizer_encode_part", bundle, source, bytes.length, at, PART_BYTES, tokens + 4 * done, room - done, count);
      [place, done] = [module.number(at), done + module.number(count)];
      if (place === bytes.length) return new Int32Array(module.memory.buffer, tokens, done).slice();
      await pause();
      signal?.throwIfAborted();
      live(); // it may have been disposed meanwhile
    }
  } finally {
    module.release(tokens, 4 * room);
    module.release(source, bytes.length);
  }
}

const HINT_TOKENS = 1 << 15;

/** Tokens that say which names of the grammar's lists its request says. */
export function hintOf(module, session, scratch) {
  const pointer = module.allocate(4 * HINT_TOKENS);
  try {
    module.call("chm_session_hint", session, pointer, HINT_TOKENS, scratch);
    return new Int32Array(module.bytes(pointer, 4 * module.number(scratch)).slice().buffer);
  } finally {
    module.release(pointer, 4 * HINT_TOKENS);
  }
}
