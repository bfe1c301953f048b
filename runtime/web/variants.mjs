// Which of a bundle's modules runs best here. A module's file name says what it needs beyond WebAssembly with SIMD:
// chimera.wasm, chimera.relaxed.wasm (relaxed SIMD), chimera.dot4.wasm (relaxed SIMD, where byte products of four are fast),
// chimera.threads.wasm (shared memory), chimera.scalar.wasm (no SIMD).

const MAGIC = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
const VECTOR_RESULT = [1, 5, 1, 0x60, 0, 1, 0x7b, 3, 2, 1, 0]; // one function, () -> v128
const ZERO_VECTOR = [0x41, 0, 0xfd, 15]; // i32.const 0, i8x16.splat
const body = (code) => [10, code.length + 4, 1, code.length + 2, 0, ...code, 0x0b];

// feature → a module that is valid only where it exists
const PROBES = {
  simd: [...VECTOR_RESULT, ...body([...ZERO_VECTOR, 0xfd, 98])], // i8x16.popcnt
  relaxed: [...VECTOR_RESULT, ...body([...ZERO_VECTOR, ...ZERO_VECTOR, 0xfd, 0x92, 2])], // i16x8.relaxed_dot_i8x16_i7x16_s
  threads: [1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 5, 4, 1, 3, 1, 1, ...body([0x41, 0, 0xfe, 16, 2, 0, 0x1a])], // shared memory, i32.atomic.load
};

// a function of a, b and c: a lane of i32x4.relaxed_dot_i8x16_i7x16_add_s of vectors of them
const DOT4 = [
  ...[1, 8, 1, 0x60, 3, 0x7f, 0x7f, 0x7f, 1, 0x7f, 3, 2, 1, 0, 7, 5, 1, 1, 0x66, 0, 0],
  ...body([0x20, 0, 0xfd, 15, 0x20, 1, 0xfd, 15, 0x20, 2, 0xfd, 17, 0xfd, 0x93, 2, 0xfd, 27, 3]),
];

let dot4; // whether byte products of four are fast here, and right

/** The question of runtime/native/chm_cpu.c: where the processor has no such instruction engines add up saturated pairs. */
function multipliesFours() {
  try {
    const { f } = new WebAssembly.Instance(new WebAssembly.Module(Uint8Array.from([...MAGIC, ...DOT4]))).exports;
    const products = f(127, -1, 1 << 20) - (1 << 20);
    return products === 4 * 127 * 255 || products === -4 * 127;
  } catch {
    return false; // no relaxed SIMD, or a policy that lets nothing run
  }
}

/** Features as people know them. */
export const FEATURES = { simd: "WebAssembly SIMD", relaxed: "WebAssembly relaxed SIMD", dot4: "byte products of four", threads: "WebAssembly threads" };

/** Whether pages and workers here may share memory. In a browser that takes two headers of the server (docs/web.md). */
export const canShareMemory = () => typeof SharedArrayBuffer === "function" && (globalThis.crossOriginIsolated ?? true);

function has(feature) {
  if (feature === "scalar") return true;
  if (feature === "threads" && !canShareMemory()) return false;
  if (feature === "dot4") return (dot4 ??= multipliesFours());
  return Boolean(PROBES[feature]) && WebAssembly.validate(Uint8Array.from([...MAGIC, ...PROBES[feature]]));
}

/** Features that a module needs, from its file name. */
export function featuresOf(name) {
  const named = name.split(".").slice(1, -1);
  return named.includes("scalar") ? named : ["simd", ...named];
}

/** What a module needs that is not here. */
export const missing = (name) => featuresOf(name).filter((feature) => !has(feature));

/** The files of the given modules that run here, best first. Those for threads are left out unless wanted. */
export function runnable(files, { threads }) {
  const rank = { threads: 4, dot4: 3, relaxed: 2, simd: 1 };
  const score = (file) => featuresOf(file.name).reduce((sum, feature) => sum + (rank[feature] ?? 0), 0);
  return files
    .filter((file) => featuresOf(file.name).every((feature) => has(feature) && (feature !== "threads" || threads > 1)))
    .sort((a, b) => score(b) - score(a));
}

/** Threads to use when the caller leaves it to us: browsers count hardware threads, of which two share a core. */
export function defaultThreads() {
  const count = globalThis.navigator?.hardwareConcurrency ?? globalThis.process?.getBuiltinModule?.("os")?.availableParallelism?.() ?? 1;
  return Math.min(8, count > 2 ? Math.ceil(count / 2) : count);
}
