"""WebAssembly with relaxed SIMD: byte products in one instruction; Chrome since 2023, Firefox since 2025, Node 22.

A relaxed instruction may differ between processors where the second operand of a byte product is outside 0..127 or a
sum saturates. Trit codes are at most 2, and two products of them with an int8 fit 16 bits, so every engine computes the
same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from chimerac.targets.isa.definition import Primitive, TernaryDot, llvm_call, table
from chimerac.targets.isa.wasm_simd128 import DOT2_I16
from chimerac.targets.isa.wasm_simd128 import ISA as SIMD128


def _pairs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sums of neighbouring products."""
    products = a.astype(np.int16) * b.astype(np.int16)
    result: np.ndarray = products[0::2] + products[1::2]
    return result


def _dot2_i8_u7(a: Any, b: Any) -> Any:
    from tvm import tirx

    def lanes(vectors: list[Any], first: int) -> Any:
        return tirx.Shuffle(vectors, [tirx.IntImm("int32", i) for i in range(first, first + 16)])

    dot = llvm_call("llvm.wasm.relaxed.dot.i8x16.i7x16.signed", "int16x8")
    return lanes([dot(lanes([a], first), lanes([b], first)) for first in (0, 16)], 0)


DOT2_I8_U7 = Primitive(
    "dot2_i8_u7",
    "llvm.wasm.relaxed.dot.i8x16.i7x16.signed, twice",
    ("int8x32", "uint8x32"),
    "int16x16",
    _pairs,
    _dot2_i8_u7,
)


def _prepare(activations: Any) -> list[Any]:
    """The bytes as they are: a word is the 4 activations of a plane."""
    from tvm.script import tirx as T

    return [T.reinterpret("int32x4", activations)]


def _accumulate(sums: list[Any], packed: Any, plane: int, words: list[Any]) -> list[Any]:
    """Codes of a plane times activations, 2 sums of 2 products per row: at most 127 · 256 over a block of 256."""
    from tvm import tirx
    from tvm.script import tirx as T

    shifted = tirx.shift_right(packed, tirx.Broadcast(tirx.IntImm("uint16", 2 * plane), 16)) if plane else packed
    codes = tirx.bitwise_and(shifted, tirx.Broadcast(tirx.IntImm("uint16", 0x0303), 16))
    products = _dot2_i8_u7(T.reinterpret("int8x32", words[0]), T.reinterpret("uint8x32", codes))
    return [tirx.Add(total, products) for total in sums] or [products]


def _finish(sums: list[Any]) -> Any:
    from tvm import tirx

    return DOT2_I16.build(sums[0], tirx.Broadcast(tirx.IntImm("int16", 1), 16))


ISA = replace(
    SIMD128,
    name="wasm32-relaxed",
    kernels="relaxed",
    target={**SIMD128.target, "mattr": ["+simd128", "+relaxed-simd", "+bulk-memory"]},
    panels_per_pass=1,
    columns_per_pass=1,
    ternary_dot=TernaryDot(1, _prepare, _accumulate, _finish),
    primitives=table(DOT2_I16, DOT2_I8_U7),
    base=SIMD128,  # LLVM would use relaxed minima and conversions too, which differ for NaN
)
