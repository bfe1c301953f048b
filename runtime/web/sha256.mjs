// SHA-256 (FIPS 180-4): WebCrypto where the page may use it, this file's own code on plain http, where it may not.
import { pauses } from "./slices.mjs";

const roundConstants = () => {
  // first 32 bits of the fractional parts of the cube roots of the first 64 primes, by integer cube roots
  const cubeRootBits = (prime) => {
    const scaled = BigInt(prime) << 96n;
    let low = 0n;
    let high = 1n << 36n;
    while (low < high) {
      const middle = (low + high + 1n) >> 1n;
      if (middle * middle * middle <= scaled) low = middle;
      else high = middle - 1n;
    }
    return Number(low & 0xffffffffn);
  };
  const primes = [];
  for (let n = 2; primes.length < 64; n += 1) if (primes.every((p) => n % p !== 0)) primes.push(n);
  return Uint32Array.from(primes, cubeRootBits);
};

let constants = null; // once they are needed

const rotate = (x, n) => (x >>> n) | (x << (32 - n));

function compress(state, words, view, offset) {
  for (let i = 0; i < 16; i += 1) words[i] = view.getUint32(offset + 4 * i);
  for (let i = 16; i < 64; i += 1) {
    const a = words[i - 15];
    const b = words[i - 2];
    words[i] = words[i - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ (a >>> 3)) + words[i - 7] + (rotate(b, 17) ^ rotate(b, 19) ^ (b >>> 10));
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let i = 0; i < 64; i += 1) {
    const t1 = (h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + constants[i] + words[i]) | 0;
    const t2 = ((rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g; g = f; f = e; e = (d + t1) | 0; d = c; c = b; b = a; a = (t1 + t2) | 0;
  }
  [a, b, c, d, e, f, g, h].forEach((value, i) => { state[i] = (state[i] + value) | 0; });
}

const PART = 1 << 16; // bytes between two looks at the clock

/** SHA-256 of bytes in plain JavaScript, in slices, as 64 hexadecimal digits. */
export async function sha256InScript(bytes, signal) {
  constants ??= roundConstants();
  const pause = pauses();
  const state = Int32Array.of(0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19);
  const words = new Int32Array(64);
  const whole = bytes.length - (bytes.length % 64);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let offset = 0; offset < whole; offset += 64) {
    compress(state, words, view, offset);
    if (offset % PART === 0) await pause();
    signal?.throwIfAborted();
  }
  const tail = new Uint8Array(bytes.length - whole < 56 ? 64 : 128);
  tail.set(bytes.subarray(whole));
  tail[bytes.length - whole] = 0x80;
  const tailView = new DataView(tail.buffer);
  tailView.setBigUint64(tail.length - 8, BigInt(bytes.length) * 8n);
  for (let offset = 0; offset < tail.length; offset += 64) compress(state, words, tailView, offset);
  return Array.from(state, (value) => (value >>> 0).toString(16).padStart(8, "0")).join("");
}

/** What a promise gives, or the signal's reason as soon as that is aborted; the signal does not keep it. */
async function unlessAborted(promise, signal) {
  if (!signal) return promise;
  let abort;
  const aborted = new Promise((_, reject) => { abort = () => reject(signal.reason); });
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** SHA-256 of bytes, as 64 hexadecimal digits. Aborting `signal` throws its reason. */
export async function sha256(bytes, signal) {
  signal?.throwIfAborted();
  const subtle = globalThis.crypto?.subtle;
  if (!subtle) return sha256InScript(bytes, signal);
  const own = bytes.buffer instanceof ArrayBuffer ? bytes : bytes.slice(); // WebCrypto takes no shared memory
  const digest = new Uint8Array(await unlessAborted(subtle.digest("SHA-256", own), signal));
  return Array.from(digest, (value) => value.toString(16).padStart(2, "0")).join("");
}
