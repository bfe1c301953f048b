"""Speed of the packed ternary matrix-vector product, weights out of cache: native, one and two threads, and in Node.

    python benchmarks/matvec.py [rows columns [tokens]]

Several copies of the matrix, together larger than any cache, are multiplied in turn. Native runs with one thread and
with two take turns, and so do the WebAssembly modules, so that what else the machine does disturbs both alike.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from ctypes import CDLL, c_int32, c_uint64, c_void_p
from pathlib import Path

import numpy as np

from chimerac.compiler.ir.layouts import pack_scales, pack_ternary, scale_layout, ternary_layout
from chimerac.compiler.ir.types import TensorType
from chimerac.runtime.bundle_format import C_FLAGS, NATIVE_DIRECTORY, POSIX_SOURCES
from chimerac.runtime.wasm_session import find_node
from chimerac.targets.codegen import compile_kernels
from chimerac.targets.isa import Isa, load_isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.link import link

HERE = Path(__file__).parent
GROUP, BLOCK = 128, 64
MEMORY = 200 << 20  #: bytes of weights to cycle through
CALLS = 1000
ROUNDS, SECONDS = 3, 1.5
THREADS = 2
WASM = ("wasm32-simd128", "wasm32-relaxed", "wasm32-scalar")

NODE = """
import fs from "node:fs";
const [path, symbol, ...numbers] = process.argv.slice(2);
const [rows, columns, tokens, bytes, scales, copies, units, seconds] = numbers.map(Number);
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
const end = performance.now() + 1000 * seconds;
for (let copy = 0; performance.now() < end; copy = (copy + 1) % copies) {
  const start = performance.now();
  kernel(codes, activations, weights + bytes * copy, weightScales + scales * copy, y, tokens, 0, units);
  durations.push((performance.now() - start) / 1000);
}
console.log(JSON.stringify(durations.slice(durations.length / 3)));
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


def report(name: str, durations: Sequence[float], work: int, size: int) -> None:
    """Median and best time of a call."""
    print(f"{name:16}", end="")
    for what, duration in (("median", statistics.median(durations)), ("best", min(durations))):
        rate, speed = size / duration / 1e9, work / duration / 1e9
        print(f"  {what} {1e6 * duration:5.0f} us, {rate:5.2f} GB/s, {speed:5.1f} G multiply-adds/s", end="")
    print()


def native(spec: KernelSpec, isa: Isa, packed: np.ndarray, scales: np.ndarray, folder: Path, tokens: int) -> np.ndarray:
    """Seconds of each call, [1 thread or THREADS, calls]."""
    objects = [o.object_path for o in compile_kernels([spec], isa, folder / isa.name)]
    sources = [HERE / "matvec.c", *(NATIVE_DIRECTORY / name for name in POSIX_SOURCES)]
    output = folder / f"kernel{isa.suffix}"
    link(objects, sources, isa, output, ["measure"], [NATIVE_DIRECTORY], [*C_FLAGS, f"-DKERNEL={spec.symbol}"])
    copies = max(1, MEMORY // packed.nbytes)
    random = np.random.default_rng(0)
    rows, columns = spec.integer("rows"), spec.integer("columns")
    arrays = [
        random.integers(-127, 128, (tokens, columns)).astype(np.int8),
        np.full((tokens, columns // BLOCK), 0.01, np.float32),
        np.tile(packed, copies),
        np.tile(scales.reshape(-1), copies),
        np.zeros((tokens, rows), np.float32),
    ]
    pointers = (c_void_p * 5)(*(a.ctypes.data for a in arrays))
    strides = (c_uint64 * 5)(0, 0, packed.nbytes, scales.nbytes, 0)
    assert spec.sharing is not None
    durations = np.zeros((2, CALLS))
    sizes = (copies, tokens, spec.sharing.units, spec.sharing.work, THREADS, CALLS)
    target = durations.ctypes.data_as(c_void_p)
    library = CDLL(str(output))
    library.measure.restype = c_int32
    status = library.measure(pointers, strides, *map(c_int32, sizes), target)
    if status:
        raise SystemExit(f"the threads cannot be started: CHM{status}")
    return durations


def in_node(module: Path, symbol: str, numbers: Sequence[float], script: Path) -> list[float]:
    """Seconds of each call, the first ones left out: by then the engine has optimised the module."""
    command = [*find_node(), "--no-liftoff", str(script), str(module), symbol, *map(str, numbers)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [float(second) for second in json.loads(done.stdout)]


def main(rows: int = 6912, columns: int = 2560, tokens: int = 1) -> None:
    random = np.random.default_rng(0)
    trits = random.integers(-1, 2, (rows, columns)).astype(np.int8)
    plain_scales = np.full((rows, columns // GROUP), 0.01, np.float16)
    work = rows * columns * tokens
    print(f"{rows} x {columns}, {tokens} tokens")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        isa = load_isa("x86_64-avx2")
        packed, scales = pack_ternary(trits, isa.panel_rows), pack_scales(plain_scales, isa.panel_rows)
        spec = make_spec(rows, columns, isa.panel_rows, packed, scales)
        size = packed.nbytes + scales.nbytes
        one, several = native(spec, isa, packed, scales, folder, tokens)
        report("native, 1 thread", one, work, size)
        report(f"native, {THREADS}", several, work, size)
        if shutil.which("node") is None:
            return
        script = folder / "run.mjs"
        script.write_text(NODE, encoding="utf-8")
        modules: dict[str, Path] = {}
        for name in WASM:
            isa = load_isa(name)
            objects = compile_kernels([spec], isa, folder / name)
            modules[name] = folder / f"{name}.wasm"
            link([o.object_path for o in objects], [], isa, modules[name], [spec.symbol, "__heap_base"])
        assert spec.sharing is not None
        copies = max(1, MEMORY // size)
        numbers = (rows, columns, tokens, packed.nbytes, scales.nbytes, copies, spec.sharing.units, SECONDS)
        found: dict[str, list[float]] = {name: [] for name in modules}
        for _ in range(ROUNDS):
            for name, path in modules.items():
                found[name] += in_node(path, spec.symbol, numbers, script)
        for name, durations in found.items():
            report(name, durations, work, size)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
