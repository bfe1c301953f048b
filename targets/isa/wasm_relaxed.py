"""WebAssembly with relaxed SIMD: byte products in one instruction; Chrome since 2023, Firefox since 2025, Node 22.

A relaxed instruction may differ between processors where the second operand of a byte product is outside 0..127 or a
sum saturates. The codes that are multiplied here are at most 8, and two of their products with an int8 fit 16 bits, so
every engine computes the same.

There are two sets of kernels. Processors with byte products of four (AVX-VNNI, Arm's dot product) add them to 32-bit
sums in one instruction; for the others engines need five in its place, and 16-bit sums of two products are faster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from chimerac.targets.isa.definition import ROOM, Int8Dot, Primitive, TernaryDot, llvm_call, table
from chimerac.targets.isa.wasm_simd128 import DOT2_I16, both_halves, half_of, helper
from chimerac.targets.isa.wasm_simd128 import ISA as SIMD128

DOT2_I8_U7 = Primitive(
    "dot2_i8_u7",
    "llvm.wasm.relaxed.dot.i8x16.i7x16.signed",
    ("int8x16", "uint8x16"),
    "int16x8",
    lambda a, b: _products(a, b, 2).astype(np.int16),
    llvm_call("llvm.wasm.relaxed.dot.i8x16.i7x16.signed", "int16x8"),
)
ADD_DOT4_I8_U7 = Primitive(
    "add_dot4_i8_u7",
    "llvm.wasm.relaxed.dot.i8x16.i7x16.add.signed",
    ("int32x4", "int8x16", "uint8x16"),
    "int32x4",
    lambda total, a, b: (total + _products(a, b, 4)).astype(np.int32),
    lambda total, a, b: llvm_call("llvm.wasm.relaxed.dot.i8x16.i7x16.add.signed", "int32x4")(a, b, total),
)


def _products(a: np.ndarray, b: np.ndarray, count: int) -> np.ndarray:
    """Sums of so many neighbouring products."""
    result: np.ndarray = (a.astype(np.int64) * b.astype(np.int64)).reshape(-1, count).sum(axis=1)
    return result


def _codes(packed: Any, shift: int, mask: int) -> Any:
    """Half a panel's ``packed`` (uint16x8) shifted right, and the bits of each byte that ``mask`` keeps, as bytes."""
    from tvm import tirx
    from tvm.script import tirx as T

    shifted = tirx.shift_right(packed, tirx.Broadcast(tirx.IntImm("uint16", shift), 8)) if shift else packed
    kept = tirx.bitwise_and(shifted, helper("hidden_i16x8", tirx.Broadcast(tirx.IntImm("uint16", mask << 8 | mask), 8)))
    return T.reinterpret("uint8x16", kept)


#: (the sum so far, activations int8x16, codes uint8x16) → the sum with their products
_Add = Callable[[Any, Any, Any], Any]


def _add_pairs(total: Any, activations: Any, codes: Any) -> Any:
    from tvm import tirx

    products = DOT2_I8_U7.build(activations, codes)
    return helper("pinned_i16x8", products if total is None else tirx.Add(total, products))


def _add_fours(total: Any, activations: Any, codes: Any) -> Any:
    from tvm import tirx

    before = tirx.Broadcast(tirx.IntImm("int32", 0), 4) if total is None else total
    return helper("pinned_i32x4", ADD_DOT4_I8_U7.build(before, activations, codes))


def _one_shift(add: _Add) -> Callable[[list[Any], Any, int, list[Any]], list[Any]]:
    """Two sums for each half of a panel: of planes 0 and 2, and of planes 1 and 3 with the codes multiplied by 4."""

    def accumulate(sums: list[Any], packed: Any, plane: int, words: list[Any]) -> list[Any]:
        sums, first = list(sums), 2 * (plane % 2)
        for half in range(2):
            codes = _codes(half_of(packed, half), plane // 2 * 4, 3 << 2 * (plane % 2))
            total = sums[first + half] if len(sums) > first + half else None
            sums[first + half : first + half + 1] = [add(total, half_of(words[0], half, "int8x16"), codes)]
        return sums

    return accumulate


def _shifted(add: _Add) -> Callable[[list[Any], Any, int, list[Any]], list[Any]]:
    """One sum for each half of a panel: columns that share codes need the registers."""

    def accumulate(sums: list[Any], packed: Any, plane: int, words: list[Any]) -> list[Any]:
        found = []
        for half in range(2):
            codes = _codes(half_of(packed, half), 2 * plane, 3)
            total = sums[half] if sums else None
            found.append(add(total, half_of(words[0], half, "int8x16"), codes))
        return found

    return accumulate


def _totals(sums: list[Any]) -> list[Any]:
    """One sum for each half; of two, the second is 4 times too large."""
    from tvm import tirx

    def quarter(total: Any) -> Any:
        kind = total.ty.dtype
        return tirx.shift_right(total, tirx.Broadcast(tirx.IntImm(str(kind).split("x")[0], 2), int(kind.lanes)))

    return [tirx.Add(a, quarter(b)) for a, b in zip(sums[:2], sums[2:], strict=True)] if len(sums) == 4 else sums


def _finish_pairs(sums: list[Any]) -> Any:
    """From 16-bit sums: over a block of 128 the larger ones are at most 4 · 127 · 64."""
    from tvm import tirx

    one = tirx.Broadcast(tirx.IntImm("int16", 1), 8)
    return both_halves([DOT2_I16.build(total, one) for total in _totals(sums)])


def _finish_fours(sums: list[Any]) -> Any:
    return both_halves(_totals(sums))


def _low_and_negative(activations: Any) -> list[Any]:
    """An activation is its lower 7 bits, and 128 less where it is negative; both factors are in 0..127."""
    from tvm import tirx
    from tvm.script import tirx as T

    def kept(value: Any, mask: int) -> Any:
        return T.reinterpret("uint8x16", tirx.bitwise_and(value, tirx.Broadcast(tirx.IntImm("uint16", mask), 8)))

    pairs = T.reinterpret("uint16x8", activations)
    return [kept(pairs, 0x7F7F), kept(tirx.shift_right(pairs, tirx.Broadcast(tirx.IntImm("uint16", 7), 8)), 0x0101)]


def _as_they_are(weights: Any) -> Any:
    return weights


def _accumulate_int8_fours(total: Any, activations: list[Any], weights: Any) -> list[Any]:
    return [_add_fours(part, weights, codes) for part, codes in zip(total or (None, None), activations, strict=True)]


def _accumulate_int8_pairs(total: Any, activations: list[Any], weights: Any) -> list[Any]:
    """Two products with the lower bits fit 16 bits; 128 of those with the negative ones do, a block of 1024."""
    from tvm import tirx

    one = tirx.Broadcast(tirx.IntImm("int16", 1), 8)
    low, negative = total or (None, None)
    fours = DOT2_I16.build(DOT2_I8_U7.build(weights, activations[0]), one)
    return [
        helper("pinned_i32x4", fours if low is None else tirx.Add(low, fours)),
        _add_pairs(negative, weights, activations[1]),
    ]


def _finish_int8_fours(total: list[Any]) -> Any:
    from tvm import tirx

    seven = tirx.Broadcast(tirx.IntImm("int32", 7), 4)
    return tirx.Sub(total[0], tirx.shift_left(total[1], seven))


def _finish_int8_pairs(total: list[Any]) -> Any:
    from tvm import tirx

    one = tirx.Broadcast(tirx.IntImm("int16", 1), 8)
    return _finish_int8_fours([total[0], DOT2_I16.build(total[1], one)])


def _relaxed(add: _Add, finish: Callable[[list[Any]], Any], largest_block: int, **others: Any) -> dict[str, Any]:
    """Fields of a kernel set with this step."""
    return {
        "ternary_dot": TernaryDot(1, None, _one_shift(add), finish, largest_block=largest_block),
        "tile_dot": TernaryDot(1, None, _shifted(add), finish),
        **others,
    }


PLAIN = replace(
    SIMD128,
    name="wasm32-relaxed",
    kernels="relaxed",
    target={**SIMD128.target, "mattr": ["+simd128", "+relaxed-simd", "+bulk-memory"]},
    definitions=("CHM_WASM_RELAXED=1",),
    primitives=table(DOT2_I16, DOT2_I8_U7),
    base=SIMD128,  # LLVM would use relaxed minima and conversions too, which differ for NaN
    int8_dot=Int8Dot(
        4, _low_and_negative, _accumulate_int8_pairs, rows=4, prepare_weights=_as_they_are, finish=_finish_int8_pairs
    ),
    **_relaxed(_add_pairs, _finish_pairs, 128, panels_per_pass=1, columns_per_pass=3),
)

DOT4 = replace(
    PLAIN,
    name="wasm32-relaxed+dot4",
    kernels="dot4",
    needs=("dot4",),
    primitives=table(ADD_DOT4_I8_U7, DOT2_I16),
    int8_dot=Int8Dot(
        4, _low_and_negative, _accumulate_int8_fours, rows=4, prepare_weights=_as_they_are, finish=_finish_int8_fours
    ),
    **_relaxed(_add_fours, _finish_fours, ROOM, panels_per_pass=2, columns_per_pass=4),
)

ISA = replace(PLAIN, variants=(DOT4,))
