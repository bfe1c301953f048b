"""What reading the rows of open neurons only gains: halves of a gated layer beside the dense products, in turns.

    python benchmarks/sparsity.py [neurons outputs] [--isa x86_64-avx512] [--halves down up guess] [--memory MIB]

``down`` is the second matrix, whose rows a gate decides, ``up`` the first one, whose rows a guess chose, and ``guess``
the products of that guess, ternary and of a 16th of the channels, beside the dense ``up``; with any share.

Kernels of one token on one thread, as bundles have them, in CPU time. Weights are several copies, together larger than
a cache, in pages of 4 KB, as mapped files are; every call has other open neurons or another copy. Hidden vectors are in
a cache. A ratio is the median of the ratios of neighbouring calls, and ``proportional`` is that ratio by the share of
open neurons; ``read`` is the same of reading the open rows, 16 of them ahead, and doing nothing with them. Bytes are
those of weights and scales that a call reads.
"""

from __future__ import annotations

import argparse
import json
import mmap
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from ctypes import CDLL, addressof, c_int32, c_void_p
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from chimerac.compiler.ir.layouts import pack_scales, pack_ternary, scale_layout, ternary_layout
from chimerac.compiler.ir.module import Op, Value
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.types import TensorType
from chimerac.targets.code.kernel_queue import compile_kernels
from chimerac.targets.code.link import link
from chimerac.targets.isa import Isa, load_isa
from chimerac.targets.kernel_spec import KernelSpec

SHARES = (1.0, 0.1, 0.01, 0.0001)
FORMATS = ("f32", "int8", "ternary")
GROUP, BLOCK = 128, 64
MEMORY = 256 << 20
TURNS, HIDDEN = 31, 8
TURN, MOST_CALLS = 1e5, 32  #: nanoseconds of the calls that are timed together, about, and how many those are at most

Weights = list[tuple[TensorType, np.ndarray]]


@dataclass(frozen=True)
class Product:
    """A kernel and the copies of its weights."""

    spec: KernelSpec
    copies: list[list[np.ndarray]]
    row_bytes: int  #: of weights and scales, for one neuron


def spec_of(op: str, operands: Sequence[TensorType], **attributes: int) -> KernelSpec:
    """The kernel of an op over operands of these types."""
    results = OPS[op].infer(operands, attributes)
    values = [tuple(Value(f"v{i}", t) for i, t in enumerate(types)) for types in (operands, results)]
    return KernelSpec.of(Op(op, *values, attributes))


def dense_weights(kind: str, neurons: int, outputs: int, isa: Isa) -> Weights:
    """Weights [outputs, neurons], zeros: their values do not matter to the time."""
    if kind == "f32":
        return [(TensorType("f32", (outputs, neurons)), np.ones((outputs, neurons), np.float32))]
    codes, scales = np.ones((outputs, neurons), np.int8), np.full((outputs, -(-neurons // GROUP)), 0.01, np.float16)
    return laid_out(kind, codes, scales, isa.panel_rows)


def sparse_weights(kind: str, neurons: int, outputs: int) -> Weights:
    """Weights [neurons, outputs]."""
    if kind == "f32":
        return [(TensorType("f32", (neurons, outputs)), np.ones((neurons, outputs), np.float32))]
    codes, scales = np.ones((neurons, outputs), np.int8), np.full((neurons, -(-outputs // GROUP)), 0.01, np.float16)
    return laid_out(kind, codes, scales, 1)


def laid_out(kind: str, codes: np.ndarray, scales: np.ndarray, panel_rows: int) -> Weights:
    """Codes and scales as kernels read them."""
    if kind == "int8":
        return [(TensorType.of(codes), codes), (TensorType.of(scales), scales)]
    packed, panels = pack_ternary(codes, panel_rows), pack_scales(scales, panel_rows)
    layouts = ternary_layout(panel_rows), scale_layout(panel_rows)
    return [(TensorType("u8", packed.shape, layouts[0]), packed), (TensorType("f16", panels.shape, layouts[1]), panels)]


def up_products(kind: str, neurons: int, inputs: int, isa: Isa, memory: int) -> tuple[Product, Product]:
    """The dense product of the first matrix, and that of chosen rows."""
    dense, apart = dense_weights(kind, inputs, neurons, isa), sparse_weights(kind, neurons, inputs)
    chosen, x = TensorType("f32", (1, neurons)), [TensorType("f32", (1, inputs))]
    sizes = {} if kind == "f32" else {"rows": neurons, "columns": inputs, "group": GROUP, "block": BLOCK}
    if kind != "f32":
        x = [TensorType("i8", (1, inputs)), TensorType("f32", (1, -(-inputs // BLOCK)))]
    names = ("linear", "chosen_linear") if kind == "f32" else (f"{kind}_matmul", f"{kind}_chosen_matmul")
    specs = (
        spec_of(names[0], [*x, *(t for t, _ in dense)], **sizes),
        spec_of(names[1], [chosen, *x, *(t for t, _ in apart)], **sizes),
    )
    return _with_copies(specs, (dense, apart), neurons, memory)


def guess_products(kind: str, neurons: int, inputs: int, isa: Isa, memory: int) -> tuple[Product, Product]:
    """The dense product of the first matrix, and the larger product of a guess of a 16th of its channels."""
    dense, _ = up_products(kind, neurons, inputs, isa, memory)
    rank = inputs // 16
    weights = dense_weights("ternary", rank, neurons, isa)
    x = [TensorType("i8", (1, rank)), TensorType("f32", (1, -(-rank // BLOCK)))]
    sizes = {"rows": neurons, "columns": rank, "group": GROUP, "block": BLOCK}
    spec = spec_of("ternary_matmul", [*x, *(t for t, _ in weights)], **sizes)
    return dense, _with_copies((spec,), (weights,), neurons, memory)[0]


def products(kind: str, neurons: int, outputs: int, isa: Isa, memory: int) -> tuple[Product, Product]:
    """The dense product, and that of open neurons."""
    sizes = {"rows": outputs, "columns": neurons, "group": GROUP, "block": BLOCK}
    turned = {"rows": neurons, "columns": outputs, "group": GROUP}
    dense, sparse = dense_weights(kind, neurons, outputs, isa), sparse_weights(kind, neurons, outputs)
    hidden = TensorType("f32", (1, neurons))
    if kind == "f32":
        specs = spec_of("linear", [hidden, dense[0][0]]), spec_of("sparse_linear", [hidden, sparse[0][0]])
    else:
        codes = [TensorType("i8", (1, neurons)), TensorType("f32", (1, -(-neurons // BLOCK)))]
        specs = (
            spec_of(f"{kind}_matmul", [*codes, *(t for t, _ in dense)], **sizes),
            spec_of(f"{kind}_sparse_matmul", [hidden, *(t for t, _ in sparse)], **turned),
        )
    made = _with_copies(specs, (dense, sparse), neurons, memory)
    return made[0], made[1]


def _with_copies(
    specs: Sequence[KernelSpec], held: Sequence[Weights], neurons: int, memory: int
) -> tuple[Product, ...]:
    made = []
    for spec, weights in zip(specs, held, strict=True):
        size = sum(array.nbytes for _, array in weights)
        copies = [[in_small_pages(array) for _, array in weights] for _ in range(max(1, memory // size))]
        made.append(Product(spec, copies, size // neurons))
    return tuple(made)


def in_small_pages(array: np.ndarray) -> np.ndarray:
    """A copy in pages of 4 KB, as those of a file that is mapped."""
    memory = mmap.mmap(-1, array.nbytes)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    copy = np.frombuffer(memory, array.dtype, array.size).reshape(array.shape)
    copy[...] = array
    return copy


def hidden_vectors(neurons: int, share: float, random: np.random.Generator) -> list[np.ndarray]:
    """Some with so many open neurons each, at least one."""
    found = []
    for _ in range(HIDDEN):
        x = np.zeros((1, neurons), np.float32)
        x[0, random.permutation(neurons)[: max(1, round(share * neurons))]] = 0.5
        found.append(x)
    return found


#: What is linked with the kernels: loops over calls, so that what Python adds is in no figure, and what reading some
#: rows takes alone: they are asked for well ahead, and one number of each cache line is added up.
LOOP = """
void {symbol}({parameters});
__attribute__((visibility("default")))
void loop_{symbol}(void *const *const *sets, int32_t places, int32_t first, int32_t count) {{
  for (int32_t i = 0; i < count; i++) {{
    void *const *a = sets[(first + i) % places];
    {symbol}({arguments}, 0, {units});
  }}
}}
"""
READ = """
#include <stdint.h>
static void ask(const char *from, int32_t bytes) {
  for (int32_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i);
}
static int32_t sum(const char *from, int32_t bytes) {
  int32_t total = 0;
  for (int32_t i = 0; i < bytes; i += 64) total += *(const int32_t *)(from + i);
  return total;
}
__attribute__((visibility("default")))
int32_t read_rows(void *const *const *sets, const int32_t *const *numbers, int32_t open, int32_t of, int32_t places,
                  int32_t first, int32_t count, int32_t parts, const int32_t *operands, const int32_t *bytes) {
  enum { AHEAD = 16 };
  int32_t total = 0;
  for (int32_t c = 0; c < count; c++)
    for (int32_t i = -AHEAD; i < open; i++)
      for (int32_t part = 0; part < parts; part++) {
        const char *from = sets[(first + c) % places][operands[part]];
        const int32_t *rows = numbers[(first + c) % of];
        if (i + AHEAD < open) ask(from + (int64_t)rows[i + AHEAD] * bytes[part], bytes[part]);
        if (i >= 0) total += sum(from + (int64_t)rows[i] * bytes[part], bytes[part]);
      }
  return total;
}
"""


def linked(products: Sequence[Product], isa: Isa, folder: Path) -> CDLL:
    """The kernels, and loops over them."""
    objects = compile_kernels([p.spec for p in products], isa, folder)
    source, output = folder / "loops.c", folder / f"kernels{isa.suffix}"
    text = READ
    for symbol, spec in ((p.spec.symbol, p.spec) for p in products):
        pointers = len(spec.c_parameters) - 2
        arguments = ", ".join(f"a[{i}]" for i in range(pointers))
        parameters = ", ".join(["void *"] * pointers + ["int32_t"] * 2)
        text += LOOP.format(symbol=symbol, parameters=parameters, arguments=arguments, units=sharing(spec))
    source.write_text(text, encoding="utf-8")
    exports = ["read_rows", *(f"loop_{p.spec.symbol}" for p in products)]
    link([o.object_path for o in objects], [source], isa, output, exports)
    return CDLL(str(output))


class Calls:
    """Calls of a kernel with one input and one copy of the weights after the other."""

    def __init__(self, library: CDLL, product: Product, inputs: Sequence[list[np.ndarray]], outputs: int) -> None:
        self.loop = library[f"loop_{product.spec.symbol}"]
        self.loop.restype = None
        self.y = np.zeros((1, outputs), np.float32)
        self.arrays = [(*inputs[i % len(inputs)], *copy, self.y) for i, copy in enumerate(product.copies * len(inputs))]
        self.held = [(c_void_p * len(each))(*(a.ctypes.data for a in each)) for each in self.arrays]
        self.sets = (c_void_p * len(self.held))(*map(addressof, self.held))
        self.inputs, self.place = inputs, 0

    def warm(self, count: int) -> None:
        """Brings the inputs of the next calls into a cache, where the kernel before leaves them."""
        for i in range(min(count, len(self.inputs))):
            for array in self.inputs[(self.place + i) % len(self.inputs)]:
                array.sum()

    def time(self, count: int) -> float:
        """Nanoseconds of CPU time for a call, in the mean of some."""
        self.warm(count)
        begun = time.thread_time_ns()
        self.loop(self.sets, len(self.held), self.place, count)
        taken = time.thread_time_ns() - begun
        self.place = (self.place + count) % len(self.held)
        return taken / count


class Reads:
    """The rows that calls read, and nothing else: the least that any kernel takes."""

    def __init__(self, library: CDLL, calls: Calls, product: Product, vectors: Sequence[np.ndarray]) -> None:
        self.read, self.calls = library.read_rows, calls
        rows = [np.flatnonzero(v).astype(np.int32) for v in vectors]
        self.rows, self.open = rows, len(rows[0])
        self.numbers = (c_void_p * len(rows))(*(r.ctypes.data for r in rows))
        weights = product.copies[0]
        first = len(calls.arrays[0]) - 1 - len(weights)
        self.operands = (c_int32 * len(weights))(*range(first, first + len(weights)))
        neurons = vectors[0].size
        self.bytes = (c_int32 * len(weights))(*(a.nbytes // neurons for a in weights))

    def time(self, count: int) -> float:
        """As that of ``Calls``."""
        calls = self.calls
        begun = time.thread_time_ns()
        self.read(
            *(calls.sets, self.numbers, self.open, len(self.rows), len(calls.held), calls.place, count),
            *(len(self.bytes), self.operands, self.bytes),
        )
        taken = time.thread_time_ns() - begun
        calls.place = (calls.place + count) % len(calls.held)
        return taken / count


def sharing(spec: KernelSpec) -> int:
    """Units of a kernel, all of which one thread computes."""
    assert spec.sharing is not None
    return spec.sharing.units


HALVES: dict[str, Callable[[str, int, int, Isa, int], tuple[Product, ...]]] = {
    "down": products,
    "up": up_products,
    "guess": guess_products,
}


def measure(
    half: str, kind: str, neurons: int, outputs: int, isa: Isa, memory: int, folder: Path
) -> list[dict[str, float | str]]:
    """A row for each share of open neurons."""
    dense, sparse = HALVES[half](kind, neurons, outputs, isa, memory)
    library, random = linked([dense, sparse], isa, folder / f"{half}-{kind}"), np.random.default_rng(0)
    rows: list[dict[str, float | str]] = []
    columns, wide = (neurons, outputs) if half == "down" else (outputs, neurons)
    every = Calls(library, dense, [_activations(kind, columns)], wide)
    for share in SHARES if half != "guess" else SHARES[:1]:
        opened = hidden_vectors(neurons, share, random)
        vectors = [[x] for x in opened]
        if half == "up":
            vectors = [[*x, *_activations(kind, outputs)] for x in vectors]
        elif half == "guess":
            vectors = [_activations("ternary", outputs // 16)]
        some = Calls(library, sparse, vectors, wide)
        reads = Reads(library, some, sparse, opened) if half != "guess" else some
        some.time(1), every.time(1)
        times, count = (max(1, min(MOST_CALLS, round(TURN / calls.time(4)))) for calls in (every, some))
        turns = [(every.time(times), some.time(count), every.time(times), reads.time(count)) for _ in range(TURNS)]
        actual = max(1, round(share * neurons)) / neurons
        rows.append(
            {
                "half": half,
                "format": kind,
                "open": actual,
                "dense_us": statistics.median(theirs for theirs, *_ in turns) / 1e3,
                "us": statistics.median(mine for _, mine, *_ in turns) / 1e3,
                "ratio": (ratio := statistics.median(mine / theirs for theirs, mine, *_ in turns)),
                "proportional": ratio / actual,
                "read": statistics.median(read / theirs for *_, theirs, read in turns) / actual,
                "bytes": round(actual * neurons) * sparse.row_bytes,
                "dense_bytes": dense.row_bytes * neurons,
            }
        )
    return rows


def _activations(kind: str, columns: int) -> list[np.ndarray]:
    """What a dense product of that format takes."""
    if kind == "f32":
        return [np.ones((1, columns), np.float32)]
    return [np.ones((1, columns), np.int8), np.ones((1, -(-columns // BLOCK)), np.float32)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, help="neurons and outputs: 16384 1024")
    parser.add_argument("--isa", default="x86_64-avx2", help="x86_64-avx2 or x86_64-avx512")
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=FORMATS)
    parser.add_argument("--halves", nargs="+", default=list(HALVES), choices=HALVES)
    parser.add_argument("--memory", type=int, default=256, help="MiB of weights that calls cycle through: 256")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    given = parser.parse_args()
    neurons, outputs = (*given.sizes, *(16384, 1024)[len(given.sizes) :])
    print(f"{neurons} neurons, {outputs} outputs, {given.isa}, one thread")
    print(f"{'':15} {'open':>8} {'dense us':>9} {'us':>9} {'ratio':>8} {'proportional':>13} {'read':>7} {'bytes':>12}")
    found: list[dict[str, float | str]] = []
    with tempfile.TemporaryDirectory() as name:
        for half, kind in product(given.halves, given.formats):
            for row in measure(half, kind, neurons, outputs, load_isa(given.isa), given.memory << 20, Path(name)):
                found.append(row)
                print(
                    f"{row['half']:6} {row['format']:8} {row['open']:8.2%} {row['dense_us']:9.1f} {row['us']:9.1f}"
                    f" {row['ratio']:8.4f} {row['proportional']:12.2f}x {row['read']:6.2f}x {row['bytes']:12,}"
                )
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
