"""WebAssembly with 128-bit SIMD: every browser since 2023.

Kernels are written in 256-bit vectors, of which each half is a register here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chimerac.targets.isa.definition import Int8Dot, Isa, Primitive, TernaryDot, llvm_call, table


def _pairs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sums of neighbouring products."""
    products = a.astype(np.int32) * b.astype(np.int32)
    result: np.ndarray = products[0::2] + products[1::2]
    return result


def _dot2_i16(a: Any, b: Any) -> Any:
    from tvm import tirx

    def lanes(vectors: list[Any], first: int) -> Any:
        return tirx.Shuffle(vectors, [tirx.IntImm("int32", i) for i in range(first, first + 8)])

    dot = llvm_call("llvm.wasm.dot", "int32x4")
    return lanes([dot(lanes([a], first), lanes([b], first)) for first in (0, 8)], 0)


DOT2_I16 = Primitive("dot2_i16", "llvm.wasm.dot, twice", ("int16x16", "int16x16"), "int32x8", _pairs, _dot2_i16)


def _prepare(activations: Any) -> list[Any]:
    """Even and odd activations as 16-bit pairs, times 4**(3 - plane): see ``_accumulate``."""
    from tvm import tirx
    from tvm.script import tirx as T

    pairs = T.reinterpret("int16x8", activations)
    eight = tirx.Broadcast(tirx.IntImm("int16", 8), 8)
    factors = [tirx.IntImm("int16", 4 ** (3 - lane // 2)) for lane in range(8)]
    scale = tirx.Shuffle(factors, [tirx.IntImm("int32", lane) for lane in range(8)])
    even = tirx.shift_right(tirx.shift_left(pairs, eight), eight)
    odd = tirx.shift_right(pairs, eight)
    return [T.reinterpret("int32x4", tirx.Mul(part, scale)) for part in (even, odd)]


def _accumulate(sums: list[Any], packed: Any, plane: int, words: list[Any]) -> list[Any]:
    """Codes of a plane times activations, times 64, as one 32-bit sum per row.

    No instruction multiplies bytes, so the low and the high bytes of 16-bit lanes are multiplied apart. Codes stay
    where the plane has them, as multiples of 4**plane, which saves a shift each; the activations make up for it.
    """
    from tvm import tirx
    from tvm.script import tirx as T

    mask = tirx.Broadcast(tirx.IntImm("uint16", 3 << 2 * plane), 16)
    high = tirx.shift_right(packed, tirx.Broadcast(tirx.IntImm("uint16", 8), 16))
    even, odd = (T.reinterpret("int16x16", tirx.bitwise_and(part, mask)) for part in (packed, high))
    first, second = (T.reinterpret("int16x16", word) for word in words)
    products = tirx.Add(_dot2_i16(even, first), _dot2_i16(odd, second))
    return [tirx.Add(total, products) for total in sums] or [products]


def _finish(sums: list[Any]) -> Any:
    from tvm import tirx

    return tirx.shift_right(sums[0], tirx.Broadcast(tirx.IntImm("int32", 6), 8))


def _widen(values: Any) -> Any:
    from tvm import tirx

    return tirx.Cast("int16x16", values)


def _accumulate_int8(total: Any, activations: Any, weights: Any) -> Any:
    from tvm import tirx

    products = _dot2_i16(activations, weights)
    return products if total is None else tirx.Add(total, products)


ISA = Isa(
    name="wasm32-simd128",
    kernels="simd128",
    target={
        "kind": "llvm",
        "mtriple": "wasm32-unknown-unknown",
        "mattr": ["+simd128", "+bulk-memory"],
        "vector-width": 128,
    },
    triple="wasm32-freestanding",
    compile_flags=("-mcpu=generic+simd128+bulk_memory", "-fvisibility=hidden"),
    link_flags=("-nostdlib", "-Wl,--no-entry", "-Wl,--gc-sections", "-Wl,-z,stack-size=1048576"),
    export_flag="-Wl,--export={}",
    suffix=".wasm",
    vector_bytes=16,
    panel_rows=8,
    panels_per_pass=1,
    columns_per_pass=1,
    ternary_dot=TernaryDot(2, _prepare, _accumulate, _finish),
    int8_dot=Int8Dot(8, _widen, _accumulate_int8),
    primitives=table(DOT2_I16),
)
