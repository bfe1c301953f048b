"""Speed of the packed ternary matrix-vector product, one thread, weights out of cache.

    python benchmarks/matvec.py [rows columns [tokens]]

Runs natively and, if ``node`` is installed, the WebAssembly module in Node. Several copies of the matrix, together
larger than any cache, are multiplied in turn. Times are of the processor, so that a busy machine disturbs them less.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from ctypes import CDLL, c_int32, c_void_p
from pathlib import Path

import numpy as np

from chimerac.compiler.ir.layouts import pack_scales, pack_ternary, scale_layout, ternary_layout
from chimerac.compiler.ir.types import TensorType
from chimerac.targets.codegen import compile_kernels
from chimerac.targets.isa import load_isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.link import link

GROUP, BLOCK = 128, 64
MEMORY = 200 << 20  #: bytes of weights to cycle through
SECONDS = 3.0

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
const durations = [];
const clock = () => { const { user, system } = process.cpuUsage(); return (user + system) / 1e6; };
const end = performance.now() + 1000 * seconds;
for (let copy = 0; performance.now() < end; copy = (copy + 1) % copies) {
  const start = clock();
  kernel(codes, activations, weights + bytes * copy, weightScales + scales * copy, y, tokens);
  durations.push(clock() - start);
}
console.log(JSON.stringify(durations));
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


def report(name: str, durations: list[float], rows: int, columns: int, tokens: int, size: int) -> None:
    work = rows * columns * tokens
    steady = durations[len(durations) // 2 :]  # by then the engine has compiled the module with all optimisations
    print(f"{name:16} {rows}x{columns} n={tokens}:", end="")
    for what, duration in (("median", statistics.median(steady)), ("best", min(steady))):
        rate, speed = size / duration / 1e9, work / duration / 1e9
        print(f"  {what} {1e6 * duration:.0f} us, {rate:.2f} GB/s, {speed:.1f} G multiply-adds/s", end="")
    print()


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
                command = ["node", "--no-liftoff", str(script), str(output), spec.symbol, *map(str, numbers)]
                answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                report(name, answer, rows, columns, tokens, size)
                continue
            kernel = CDLL(str(output))[spec.symbol]
            all_weights = np.tile(packed, copies)
            all_scales = np.tile(panels.reshape(-1), copies)
            codes = random.integers(-127, 128, (tokens, columns)).astype(np.int8)
            activations = np.full((tokens, columns // BLOCK), 0.01, np.float32)
            y = np.zeros((tokens, rows), np.float32)
            durations: list[float] = []
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
                begun = time.process_time()
                kernel(*(c_void_p(p) for p in pointers), c_int32(tokens))
                durations.append(time.process_time() - begun)
            report(name, durations, rows, columns, tokens, size)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
