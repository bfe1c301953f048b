"""What reading the rows of open neurons only gains: halves of a gated layer beside the dense products, in turns.

    python benchmarks/sparsity.py [neurons outputs] [--isa x86_64-avx512] [--halves down up guess] [--json FILE]

``down`` is the second matrix, whose rows a gate decides, ``up`` the first one, whose rows a guess chose, and ``guess``
the products of that guess, ternary and of a 16th of the channels, beside the dense ``up``; with any share.

Kernels of one token on one thread, as bundles have them, in CPU time. Weights are several copies, together larger than
a cache, and every call has other open neurons. A ratio is the median of the ratios of neighbouring calls, and
``proportional`` is that ratio by the share of open neurons. Bytes are those of weights and scales that a call reads.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from ctypes import CDLL, c_int32, c_void_p
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
MEMORY = 256 << 20  #: bytes of weights to cycle through
TURNS, HIDDEN = 31, 16
#: Calls of a turn, by share: a short call is repeated, with other neurons each time.
REPEATED = {1.0: 1, 0.1: 4, 0.01: 16, 0.0001: 64}

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


def up_products(kind: str, neurons: int, inputs: int, isa: Isa) -> tuple[Product, Product]:
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
    return _with_copies(specs, (dense, apart), neurons)


def guess_products(kind: str, neurons: int, inputs: int, isa: Isa) -> tuple[Product, Product]:
    """The dense product of the first matrix, and the larger product of a guess of a 16th of its channels."""
    dense, _ = up_products(kind, neurons, inputs, isa)
    rank = inputs // 16
    weights = dense_weights("ternary", rank, neurons, isa)
    x = [TensorType("i8", (1, rank)), TensorType("f32", (1, -(-rank // BLOCK)))]
    sizes = {"rows": neurons, "columns": rank, "group": GROUP, "block": BLOCK}
    spec = spec_of("ternary_matmul", [*x, *(t for t, _ in weights)], **sizes)
    return dense, _with_copies((spec,), (weights,), neurons)[0]


def products(kind: str, neurons: int, outputs: int, isa: Isa) -> tuple[Product, Product]:
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
    made = _with_copies(specs, (dense, sparse), neurons)
    return made[0], made[1]


def _with_copies(specs: Sequence[KernelSpec], held: Sequence[Weights], neurons: int) -> tuple[Product, ...]:
    made = []
    for spec, weights in zip(specs, held, strict=True):
        size = sum(array.nbytes for _, array in weights)
        copies = [[array.copy() for _, array in weights] for _ in range(max(2, MEMORY // size))]
        made.append(Product(spec, copies, size // neurons))
    return tuple(made)


def hidden_vectors(neurons: int, share: float, random: np.random.Generator) -> list[np.ndarray]:
    """Some with so many open neurons each, at least one."""
    found = []
    for _ in range(HIDDEN):
        x = np.zeros((1, neurons), np.float32)
        x[0, random.permutation(neurons)[: max(1, round(share * neurons))]] = 0.5
        found.append(x)
    return found


def calls(library: CDLL, product: Product, inputs: Sequence[list[np.ndarray]], outputs: int) -> Callable[[int], float]:
    """Nanoseconds of CPU time for a call, in the mean of some."""
    function, (begin, end) = library[product.spec.symbol], (0, sharing(product.spec))
    function.restype = None
    y = np.zeros((1, outputs), np.float32)
    arrays = [(*inputs[i % len(inputs)], *copy, y) for i, copy in enumerate(product.copies * len(inputs))]
    given = [[c_void_p(a.ctypes.data) for a in each] + [c_int32(begin), c_int32(end)] for each in arrays]
    place = 0

    def run(count: int) -> float:
        nonlocal place
        begun = time.thread_time_ns()
        for _ in range(count):
            function(*given[place % len(arrays)])  # which are alive as long as this is
            place += 1
        return (time.thread_time_ns() - begun) / count

    return run


def sharing(spec: KernelSpec) -> int:
    """Units of a kernel, all of which one thread computes."""
    assert spec.sharing is not None
    return spec.sharing.units


HALVES: dict[str, Callable[[str, int, int, Isa], tuple[Product, ...]]] = {
    "down": products,
    "up": up_products,
    "guess": guess_products,
}


def measure(half: str, kind: str, neurons: int, outputs: int, isa: Isa, folder: Path) -> list[dict[str, float | str]]:
    """A row for each share of open neurons."""
    dense, sparse = HALVES[half](kind, neurons, outputs, isa)
    objects = compile_kernels([dense.spec, sparse.spec], isa, folder / f"{half}-{kind}")
    output = folder / f"{half}-{kind}{isa.suffix}"
    link([o.object_path for o in objects], [], isa, output, [o.symbol for o in objects])
    library, random = CDLL(str(output)), np.random.default_rng(0)
    rows: list[dict[str, float | str]] = []
    columns, wide = (neurons, outputs) if half == "down" else (outputs, neurons)
    every = calls(library, dense, [_activations(kind, columns)], wide)
    for share in SHARES if half != "guess" else SHARES[:1]:
        vectors = [[x] for x in hidden_vectors(neurons, share, random)]
        if half == "up":
            vectors = [[*x, *_activations(kind, outputs)] for x in vectors]
        elif half == "guess":
            vectors = [_activations("ternary", outputs // 16)]
        some = calls(library, sparse, vectors, wide)
        every(1), some(REPEATED[share])
        pairs = [(every(1), some(REPEATED[share])) for _ in range(TURNS)]
        ratio = statistics.median(mine / theirs for theirs, mine in pairs)
        actual = max(1, round(share * neurons)) / neurons
        rows.append(
            {
                "half": half,
                "format": kind,
                "open": actual,
                "dense_us": statistics.median(theirs for theirs, _ in pairs) / 1e3,
                "us": statistics.median(mine for _, mine in pairs) / 1e3,
                "ratio": ratio,
                "proportional": ratio / actual,
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
    parser.add_argument("--json", type=Path, help="where to write the figures")
    given = parser.parse_args()
    neurons, outputs = (*given.sizes, *(16384, 1024)[len(given.sizes) :])
    print(f"{neurons} neurons, {outputs} outputs, {given.isa}, one thread")
    print(f"{'':15} {'open':>8} {'dense us':>9} {'us':>9} {'ratio':>8} {'proportional':>13} {'bytes':>12}")
    found: list[dict[str, float | str]] = []
    with tempfile.TemporaryDirectory() as name:
        for half, kind in product(given.halves, given.formats):
            for row in measure(half, kind, neurons, outputs, load_isa(given.isa), Path(name)):
                found.append(row)
                print(
                    f"{row['half']:6} {row['format']:8} {row['open']:8.2%} {row['dense_us']:9.1f} {row['us']:9.1f}"
                    f" {row['ratio']:8.4f} {row['proportional']:12.2f}x {row['bytes']:12,}"
                )
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
