"""Speed of the packed ternary matrix-vector product, weights out of cache: every native kernel set, and in Node.

    python benchmarks/matvec.py [rows columns [tokens]] [--only NAME…]

Several copies of the matrix, together larger than any cache, are multiplied in turn. Native runs with one thread and
with two, and plain reading of the same weights by the same threads, take turns, and so do the WebAssembly modules, so
that what else the machine does disturbs all alike.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from ctypes import CDLL, c_int32, c_uint64, c_void_p
from itertools import product
from pathlib import Path

import numpy as np

from chimerac.compiler.ir.layouts import (
    FORMS,
    pack_scales,
    pack_ternary,
    padded,
    scale_layout,
    ternary_bytes,
    ternary_layout,
)
from chimerac.compiler.ir.types import TensorType
from chimerac.runtime.bundle_format import C_FLAGS, NATIVE_DIRECTORY, POSIX_SOURCES
from chimerac.runtime.sessions.wasm import find_node
from chimerac.targets.code.kernel_queue import compile_kernels
from chimerac.targets.code.link import link
from chimerac.targets.isa import Isa, load_isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.registry import find_target

HERE = Path(__file__).parent
GROUP, BLOCK = 128, 64
MEMORY = 400 << 20  #: bytes of weights to cycle through
CALLS = 400
ROUNDS, SECONDS = 3, 1.5
THREADS = 2
WASM = ("wasm32-simd128", "wasm32-relaxed", "wasm32-relaxed+dot4", "wasm32-scalar")

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


def make_spec(
    rows: int, columns: int, panel_rows: int, form: str, packed: np.ndarray, scales: np.ndarray
) -> KernelSpec:
    """The kernel of ternary_matmul with these weights."""
    attributes = (("block", BLOCK), ("columns", columns), ("group", GROUP), ("rows", rows))
    return KernelSpec(
        "ternary_matmul",
        (
            TensorType("i8", ("T", columns)),
            TensorType("f32", ("T", columns // BLOCK)),
            TensorType("u8", packed.shape, ternary_layout(panel_rows, form)),
            TensorType("f16", scales.shape, scale_layout(panel_rows)),
        ),
        (TensorType("f32", ("T", rows)),),
        attributes,
    )


def report(name: str, durations: Sequence[float], work: int, size: int, read_speed: float = 0) -> None:
    """Median and best time of a call, and its speed as a share of that of reading (bytes/s)."""
    print(f"{name:15}", end="")
    for what, duration in (("median", statistics.median(durations)), ("best", min(durations))):
        rate, speed = size / duration / 1e9, work / duration / 1e9
        print(f"  {what} {1e6 * duration:5.0f} us, {rate:5.2f} GB/s, {speed:5.1f} G multiply-adds/s", end="")
    if read_speed:
        print(f"  {100 * size / statistics.median(durations) / read_speed:3.0f} % of reading", end="")
    print()


def native(spec: KernelSpec, isa: Isa, packed: np.ndarray, scales: np.ndarray, folder: Path, tokens: int) -> np.ndarray:
    """Seconds of each call: multiplying with 1 thread, with THREADS, reading with 1, with THREADS; [4, calls]."""
    objects = [o.object_path for o in compile_kernels([spec], isa, folder / isa.name)]
    sources = [HERE / "matvec.c", *(NATIVE_DIRECTORY / name for name in POSIX_SOURCES)]
    output = folder / isa.name / f"{spec.symbol}{isa.suffix}"
    link(objects, sources, isa, output, ["measure"], [NATIVE_DIRECTORY], [*C_FLAGS, f"-DKERNEL={spec.symbol}"])
    copies = max(1, MEMORY // packed.nbytes)
    random = np.random.default_rng(0)
    rows, columns = spec.integer("rows"), spec.integer("columns")
    arrays: list[np.ndarray] = [
        random.integers(-127, 128, (tokens, columns)).astype(np.int8),
        np.full((tokens, columns // BLOCK), 0.01, np.float32),
        np.tile(packed, copies),
        np.tile(scales.reshape(-1), copies),
        np.zeros((tokens, rows), np.float32),
    ]
    pointers = (c_void_p * 5)(*(a.ctypes.data for a in arrays))
    strides = (c_uint64 * 5)(0, 0, packed.nbytes, scales.nbytes, 0)
    assert spec.sharing is not None
    durations = np.zeros((4, CALLS))
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


def measure_native(
    rows: int, columns: int, tokens: int, forms: Sequence[str], only: Sequence[str], folder: Path
) -> None:
    """Print a table of the native kernel sets."""
    random = np.random.default_rng(0)
    trits = random.integers(-1, 2, (rows, columns)).astype(np.int8)
    plain_scales = np.full((rows, columns // GROUP), 0.01, np.float16)
    work = rows * columns * tokens
    features = cpu_features()
    plain, avx512 = load_isa("x86_64-avx2"), load_isa("x86_64-avx512")
    runs = features.issuperset(find_target("x86_64-avx512").cpu)
    for isa, form in product((plain, *plain.variants, *[avx512] * runs), forms):
        if isa.c_kernels or (only and isa.kernels not in only) or not features.issuperset(isa.needs):
            continue
        packed, scales = pack_ternary(trits, isa.panel_rows, form), pack_scales(plain_scales, isa.panel_rows)
        spec = make_spec(rows, columns, isa.panel_rows, form, packed, scales)
        size = packed.nbytes + scales.nbytes
        multiplying_1, multiplying_n, reading_1, reading_n = native(spec, isa, packed, scales, folder, tokens)
        for threads, multiplying, reading in ((1, multiplying_1, reading_1), (THREADS, multiplying_n, reading_n)):
            report(
                f"{isa.kernels} {form}, {threads}", multiplying, work, size, packed.nbytes / statistics.median(reading)
            )
            report(f"reading, {threads}", reading, work, packed.nbytes)


def cpu_features() -> set[str]:
    """Features of this processor, as Linux spells them, and as ``Isa.needs`` does, without underscores."""
    flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    return {*flags.split(), *flags.replace("_", "").split()}


def measure_wasm(rows: int, columns: int, tokens: int, forms: Sequence[str], only: Sequence[str], folder: Path) -> None:
    """Print a table of the WebAssembly modules in Node."""
    script = folder / "run.mjs"
    script.write_text(NODE, encoding="utf-8")
    modules: dict[str, Path] = {}
    numbers: dict[str, tuple[float, ...]] = {}
    symbols: dict[str, str] = {}
    for isa, form in product(map(load_isa, WASM), forms):
        if only and isa.kernels not in only:
            continue
        name = f"{isa.kernels} {form}"
        packed = np.zeros(ternary_bytes(rows, columns, isa.panel_rows, form), np.uint8)
        scales = np.zeros(
            (padded(rows, isa.panel_rows) // isa.panel_rows, columns // GROUP, isa.panel_rows), np.float16
        )
        spec = make_spec(rows, columns, isa.panel_rows, form, packed, scales)
        objects = compile_kernels([spec], isa, folder / name)
        modules[name] = folder / f"{name}.wasm"
        link([o.object_path for o in objects], [], isa, modules[name], [spec.symbol, "__heap_base"])
        size = packed.nbytes + scales.nbytes
        assert spec.sharing is not None
        copies = max(1, MEMORY // size)
        numbers[name] = (rows, columns, tokens, packed.nbytes, scales.nbytes, copies, spec.sharing.units, SECONDS)
        symbols[name] = spec.symbol
    found: dict[str, list[float]] = {name: [] for name in modules}
    for _ in range(ROUNDS):
        for name, path in modules.items():
            found[name] += in_node(path, symbols[name], numbers[name], script)
    for name, durations in found.items():
        report(name, durations, rows * columns * tokens, int(numbers[name][3] + numbers[name][4]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, help="rows, columns, tokens: 6912 2560 1")
    parser.add_argument("--only", nargs="+", default=[], help="kernel sets, for example avx2 or relaxed")
    parser.add_argument("--forms", nargs="+", default=["t2"], choices=FORMS, help="of packed trits")
    given = parser.parse_args()
    sizes: list[int] = given.sizes
    rows, columns, tokens = (*sizes, *(6912, 2560, 1)[len(sizes) :])
    print(f"{rows} x {columns}, {tokens} tokens")
    with tempfile.TemporaryDirectory() as name:
        measure_native(rows, columns, tokens, given.forms, given.only, Path(name))
        if shutil.which("node"):
            measure_wasm(rows, columns, tokens, given.forms, given.only, Path(name))


if __name__ == "__main__":
    main()
