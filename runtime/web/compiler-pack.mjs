// The container of one grammar, as docs/bundle.md and docs/fstpack.md have it.
import { sha256 } from "./sha256.mjs";

const encoder = new TextEncoder();
const [DATA, SECTION] = [4096, 64]; // alignments
const CRC = [new Int32Array(256), new Int32Array(256), new Int32Array(256), new Int32Array(256)]; // of a byte, and of it before 1, 2, 3 zeros
for (let byte = 0; byte < 256; byte += 1) {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  CRC[0][byte] = crc;
}
for (const place of [1, 2, 3]) CRC[place].forEach((_, byte) => { CRC[place][byte] = (CRC[place - 1][byte] >>> 8) ^ CRC[0][CRC[place - 1][byte] & 255]; });

/** CRC-32 of bytes, four a step. */
function crc32(bytes) {
  const [zero, one, two, three] = CRC;
  const whole = bytes.length & ~3;
  const words = new Int32Array(bytes.slice(0, whole).buffer);
  let crc = -1;
  for (let i = 0; i < words.length; i += 1) {
    crc ^= words[i];
    crc = three[crc & 255] ^ two[(crc >>> 8) & 255] ^ one[(crc >>> 16) & 255] ^ zero[crc >>> 24];
  }
  for (let i = whole; i < bytes.length; i += 1) crc = zero[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return (~crc >>> 0).toString(16).padStart(8, "0");
}

const gapAfter = (size, alignment) => (alignment - (size % alignment)) % alignment;
const DTYPES = { 1: "U8", 2: "U16", 4: "U32" };
const bytesOf = (table) => new Uint8Array(table.buffer, table.byteOffset, table.byteLength); // browsers are little-endian

/** SHA-256 over (name, 0, u64 size, SHA-256 of the bytes) of each section. */
async function contentsOf(sections) {
  const parts = sections.map(({ name, table, digest }) => {
    const part = new Uint8Array(name.length + 41);
    part.set(encoder.encode(name));
    new DataView(part.buffer).setUint32(name.length + 1, table.byteLength, true);
    part.set(digest.match(/../g).map((hex) => parseInt(hex, 16)), name.length + 9);
    return part;
  });
  return sha256(Uint8Array.from(parts.flatMap((part) => [...part])));
}

/** The bytes of a container of one grammar that fits every tokenizer. */
export async function packOf(name, { classes, delta, op, state, loop, columns, closing }, spaceCap) {
  const states = state.length / 4;
  const directory = new Uint32Array(16);
  directory.set([0, states, columns, 0, spaceCap, 0, 0, op.length, loop.length / 4, 1, closing]);
  const names = encoder.encode(`${name}\0`);
  const sections = [
    { name: "directory", shape: [1, 16], table: directory }, { name: "names", shape: [names.length], table: names },
    { name: "g0.class", shape: [256], table: classes }, { name: "g0.delta", shape: [states, columns], table: delta },
    { name: "g0.op", shape: [op.length], table: op }, { name: "g0.state", shape: [states, 4], table: state },
    { name: "g0.loop", shape: [loop.length / 4, 4], table: loop },
  ];
  await Promise.all(sections.map(async (section) => { section.digest = await sha256(bytesOf(section.table)); }));
  const tensors = {};
  const table = {};
  let offset = 0;
  for (const section of sections) {
    const { name: key, shape, digest } = section;
    const { BYTES_PER_ELEMENT, byteLength } = section.table;
    const gap = gapAfter(offset, SECTION);
    if (gap) tensors[`__pad.${Object.keys(tensors).filter((one) => one.startsWith("__pad.")).length}`] = { dtype: "U8", shape: [gap], data_offsets: [offset, offset + gap] };
    section.offset = offset + gap;
    offset = section.offset + byteLength;
    tensors[key] = { dtype: DTYPES[BYTES_PER_ELEMENT], shape, data_offsets: [section.offset, offset] };
    table[key] = { bytes: byteLength, crc32: crc32(bytesOf(section.table)), sha256: digest };
  }
  const metadata = {
    "chimera.kind": "fstpack", "chimera.abi": "1.0", "chimera.contents_sha256": await contentsOf(sections), "chimera.config_sha256": "",
    "chimera.tokenizer_sha256": "", "chimera.sections": JSON.stringify(table),
  };
  const header = JSON.stringify({ __metadata__: metadata, ...tensors });
  const begin = 8 + header.length + gapAfter(8 + header.length, DATA);
  const pack = new Uint8Array(begin + offset).fill(0x20, 0, begin).fill(0, begin);
  new DataView(pack.buffer).setBigUint64(0, BigInt(begin - 8), true);
  pack.set(encoder.encode(header), 8);
  for (const section of sections) pack.set(bytesOf(section.table), begin + section.offset);
  return pack;
}
