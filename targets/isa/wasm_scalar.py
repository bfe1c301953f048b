"""WebAssembly without SIMD: browsers of before 2021 (Chrome, Firefox) or 2023 (Safari), and small runtimes.

Kernels are the same, written in vectors of 8, which LLVM takes apart.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from chimerac.targets.isa.definition import Int8Dot, Primitive, TernaryDot, table
from chimerac.targets.isa.wasm_simd128 import ISA as SIMD128

ROWS = 8
BYTE_PAIR = 0x00030003  #: 2 bits of bytes 0 and 2


def _two_products(codes: np.ndarray, words: np.ndarray) -> np.ndarray:
    """As 64-bit numbers, of which the upper half of the lower 32 bits matters."""
    result: np.ndarray = codes.astype(np.int64) * words.astype(np.int64)
    return result


def _build_two_products(codes: Any, words: Any) -> Any:
    from tvm import tirx

    return tirx.Mul(tirx.Cast(f"int64x{ROWS}", codes), tirx.Cast(f"int64x{ROWS}", words))


TWO_PRODUCTS = Primitive(
    "two_products", "i64.mul", ("uint32x8", "int32x8"), "int64x8", _two_products, _build_two_products
)


def _prepare(activations: Any) -> list[Any]:
    """For the even and the odd ones of 4 activations a pair: the second, and 2**16 times the first. See _accumulate."""
    from tvm import tirx

    def lanes(first: int) -> Any:
        picked = tirx.Shuffle([activations], [tirx.IntImm("int32", 4 * plane + first) for plane in range(4)])
        return tirx.Cast("int32x4", picked)

    def pair(first: int) -> Any:
        upper = tirx.Mul(lanes(first), tirx.Broadcast(tirx.IntImm("int32", 1 << 16), 4))
        return tirx.Add(upper, lanes(first + 2))

    return [pair(0), pair(1)]


def _accumulate(sums: list[Any], packed: Any, plane: int, words: list[Any]) -> list[Any]:
    """One multiplication for two codes: (c0 + 2**16 c2) (a2 + 2**16 a0) has c0 a0 + c2 a2 in front of 2**16.

    In front of 1 it has c0 a2, at most 2 · 127 · 64 over a block of 256, and what is in front of 2**32 does not matter.
    Even and odd codes are summed apart, so that each sum fits 16 bits.
    """
    from tvm import tirx
    from tvm.script import tirx as T

    rows = T.reinterpret(f"uint32x{ROWS}", packed)
    mask = tirx.Broadcast(tirx.IntImm("uint32", BYTE_PAIR), ROWS)
    products = []
    for word, shift in zip(words, (2 * plane, 2 * plane + 8), strict=True):
        shifted = tirx.shift_right(rows, tirx.Broadcast(tirx.IntImm("uint32", shift), ROWS)) if shift else rows
        products.append(TWO_PRODUCTS.build(tirx.bitwise_and(shifted, mask), word))
    return [tirx.Add(a, b) for a, b in zip(sums, products, strict=True)] if sums else products


def _finish(sums: list[Any]) -> Any:
    """What is in front of 2**16: the lower 32 bits without the number, of either sign, that the lower 16 are."""
    from tvm import tirx

    def upper(total: Any) -> Any:
        lower = tirx.Cast(f"int64x{ROWS}", tirx.Cast(f"int16x{ROWS}", total))
        rest = tirx.Cast(f"int32x{ROWS}", tirx.Sub(total, lower))
        return tirx.shift_right(rest, tirx.Broadcast(tirx.IntImm("int32", 16), ROWS))

    return tirx.Add(upper(sums[0]), upper(sums[1]))


def _widen(values: Any) -> Any:
    from tvm import tirx

    return tirx.Cast("int32x16", values)


def _accumulate_int8(total: Any, activations: Any, weights: Any) -> Any:
    from tvm import tirx

    def half(vector: Any, first: int) -> Any:
        return tirx.Shuffle([vector], [tirx.IntImm("int32", i) for i in range(first, first + 8)])

    both = tirx.Mul(activations, weights)
    products = tirx.Add(half(both, 0), half(both, 8))
    return products if total is None else tirx.Add(total, products)


ISA = replace(
    SIMD128,
    name="wasm32-scalar",
    kernels="scalar",
    target={"kind": "llvm", "mtriple": "wasm32-unknown-unknown", "mcpu": "mvp", "vector-width": 128},
    compile_flags=("-mcpu=mvp", "-fvisibility=hidden"),
    panels_per_pass=1,
    columns_per_pass=1,
    ternary_dot=TernaryDot(2, _prepare, _accumulate, _finish),
    int8_dot=Int8Dot(8, _widen, _accumulate_int8),
    primitives=table(TWO_PRODUCTS),
    step_loops=False,
    helpers="",
)
