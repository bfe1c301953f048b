"""Speed of the packed ternary matrix-vector product, one thread, weights out of cache.

    python benchmarks/matvec.py [rows columns [tokens]]

Runs natively and, if ``node`` is installed, the WebAssembly module in Node. Several copies of the matrix, together
larger than any cache, are multiplied in turn.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from ctypes import CDLL, c_int32, c_void_p
from pathlib import Path

import numpy as np

from chimerac.compiler.ir.types import TensorType
from chimerac.targets.codegen import compile_kernels
from chimerac.targets.isa import load_isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.layouts import pack_scales, pack_ternary, scale_layout, ternary_layout
from chimerac.targets.link import link

GROUP, BLOCK = 128, 64
MEMORY = 200 << 20  #: bytes of weights to cycle through
SECONDS = 1.5

NODE = """
import fs from "node:fs";
const [path, symbol, ...numbers] = process.argv.slice(2);
const [rows, columns, tokens, bytes, scales, copies, seconds] = numbers.map(Number);
const module = new WebAssembly.Module(fs.readFileSync(path));
const { memory, __heap_base, [symbol]: kernel } = new WebAssembly.Instance(module).exports;
let place = __heap_base.value;
const take = (size) => { const start = (place + 63) & ~63; place = start + size; return start; };
const codes = take(tokens * columns), activations = take(tokens * columns / 64 * 4), y = take(4 * tokens * rows);
const weights = take(bytes * copies), weightScales = take(scales * copies);
memory.grow(Math.ceil((place - memory.buffer.byteLength) / 65536) + 1);
new Uint8Array(memory.buffer, codes, tokens * columns).fill(3);
new Uint8Array(memory.buffer, weights, bytes * copies).fill(0x52);
let calls = 0, best = Infinity;
const end = performance.now() + 1000 * seconds;
for (let copy = 0; performance.now() < end; copy = (copy + 1) % copies) {
  const start = performance.now();
  kernel(codes, activations, weights + bytes * copy, weightScales + scales * copy, y, tokens);
  best = Math.min(best, performance.now() - start);
  calls++;
}
console.log(JSON.stringify({ mean: seconds / calls, best: best / 1000 }));
"""


def make_spec(rows: int, columns: int, panel_rows: int, packed: np.ndarray, scales: np.ndarray) -> KernelSpec:
    """The kernel of ternary_matmul with these weights."""
    attributes = (("block", BLOCK), ("columns", columns), ("group", GROUP), ("rows", rows))
    return KernelSpec(
        "ternary_matmul",
        (
            TensorType("i8", ("T", columns)),
            TensorType("f32", ("T", columns // BLOCK)),
            TensorType("u8", packed.shape, ternary_layout(panel_rows)),
            TensorType("f16", scales.shape, scale_layout(panel_rows)),
        ),
        (TensorType("f32", ("T", rows)),),
        attributes,
    )


def report(name: str, seconds: float, best: float, rows: int, columns: int, tokens: int, size: int) -> None:
    work = rows * columns * tokens
    print(
        f"{name:16} {rows}x{columns} n={tokens}: {1e6 * seconds:7.0f} us mean, {1e6 * best:7.0f} best;"
        f" {size / seconds / 1e9:5.2f} GB/s, {work / seconds / 1e9:6.1f} G multiply-adds/s ({work / best / 1e9:.1f} best)"
    )


def main(rows: int = 6912, columns: int = 2560, tokens: int = 1) -> None:
    random = np.random.default_rng(0)
    trits = random.integers(-1, 2, (rows, columns)).astype(np.int8)
    scales = np.full((rows, columns // GROUP), 0.01, np.float16)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("x86_64-avx2", "wasm32-simd128"):
            isa = load_isa(name)
            packed, panels = pack_ternary(trits, isa.panel_rows), pack_scales(scales, isa.panel_rows)
            size = packed.nbytes + panels.nbytes
            copies = max(1, MEMORY // size)
            spec = make_spec(rows, columns, isa.panel_rows, packed, panels)
            objects = compile_kernels([spec], isa, Path(folder) / name)
            output = Path(folder) / f"kernel{isa.suffix}"
            web = isa.suffix == ".wasm"
            link([o.object_path for o in objects], [], isa, output, [spec.symbol, *(["__heap_base"] if web else [])])
            if web:
                if shutil.which("node") is None:
                    continue
                numbers = (rows, columns, tokens, packed.nbytes, panels.nbytes, copies, SECONDS)
                script = Path(folder) / "run.mjs"
                script.write_text(NODE, encoding="utf-8")
                command = ["node", str(script), str(output), spec.symbol, *map(str, numbers)]
                answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                report(name, answer["mean"], answer["best"], rows, columns, tokens, size)
                continue
            kernel = CDLL(str(output))[spec.symbol]
            all_weights = np.tile(packed, copies)
            all_scales = np.tile(panels.reshape(-1), copies)
            codes = random.integers(-127, 128, (tokens, columns)).astype(np.int8)
            activations = np.full((tokens, columns // BLOCK), 0.01, np.float32)
            y = np.zeros((tokens, rows), np.float32)
            durations = []
            end = time.perf_counter() + SECONDS
            while time.perf_counter() < end:
                copy = len(durations) % copies
                pointers = (
                    codes.ctypes.data,
                    activations.ctypes.data,
                    all_weights.ctypes.data + copy * packed.nbytes,
                    all_scales.ctypes.data + copy * panels.nbytes,
                    y.ctypes.data,
                )
                begun = time.perf_counter()
                kernel(*(c_void_p(p) for p in pointers), c_int32(tokens))
                durations.append(time.perf_counter() - begun)
            report(name, float(np.mean(durations[1:])), min(durations), rows, columns, tokens, size)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
