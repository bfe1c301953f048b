"""AArch64 with NEON: every 64-bit Arm processor, and variants for those that multiply bytes four at a time.

The plain kernels run on ARMv8.0 (Cortex-A53 and A72, Raspberry Pi 3 and 4); ``dotprod`` has been usual since 2018
(Cortex-A55 and A76, Raspberry Pi 5, Apple M1). Apple's targets use the same tables. The
matrix instructions (i8mm) are not used: with four columns at a time, bringing codes and activations into their order
costs most of what they save (42 instead of 46 instructions for 16 columns of 8 rows).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from chimerac.targets.isa.definition import Int8Dot, Isa, Primitive, TernaryDot, llvm_call, table

PANEL_ROWS = 8


def _pairs(a: np.ndarray) -> np.ndarray:
    """Sums of neighbours in lanes twice as wide."""
    result: np.ndarray = a[0::2].astype(np.int32) + a[1::2].astype(np.int32)
    return result


def _fours(total: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sums of 4 neighbouring products each, added to ``total``."""
    products = a.astype(np.int32) * b.astype(np.int32)
    result: np.ndarray = total + products.reshape(-1, 4).sum(axis=1, dtype=np.int32)
    return result


def _multiply_i8(a: Any, b: Any) -> Any:
    from tvm import tirx

    return tirx.Mul(tirx.Cast("int16x16", a), tirx.Cast("int16x16", b))


MULTIPLY_I8 = Primitive(
    "multiply_i8",
    "smull and smull2, which LLVM finds by itself",
    ("int8x16", "int8x16"),
    "int16x16",
    lambda a, b: a.astype(np.int16) * b.astype(np.int16),
    _multiply_i8,
)
ADD_PAIRS_I16 = Primitive(
    "add_pairs_i16",
    "llvm.aarch64.neon.saddlp.v4i32.v8i16",
    ("int16x8",),
    "int32x4",
    _pairs,
    llvm_call("llvm.aarch64.neon.saddlp.v4i32.v8i16", "int32x4"),
)
ADD_NEIGHBOURS_I16 = Primitive(
    "add_neighbours_i16",
    "llvm.aarch64.neon.addp.v8i16",
    ("int16x8", "int16x8"),
    "int16x8",
    lambda a, b: _pairs(np.concatenate([a, b])).astype(np.int16),
    llvm_call("llvm.aarch64.neon.addp.v8i16", "int16x8"),
)
DOT4_I8 = Primitive(
    "dot4_i8",
    "llvm.aarch64.neon.sdot.v4i32.v16i8",
    ("int32x4", "int8x16", "int8x16"),
    "int32x4",
    _fours,
    llvm_call("llvm.aarch64.neon.sdot.v4i32.v16i8", "int32x4"),
)


def _lanes(vector: Any, first: int, count: int) -> Any:
    from tvm import tirx

    return tirx.Shuffle([vector], [tirx.IntImm("int32", i) for i in range(first, first + count)])


def _join(low: Any, high: Any) -> Any:
    """8 lanes of two vectors of 4."""
    from tvm import tirx

    return tirx.Shuffle([low, high], [tirx.IntImm("int32", i) for i in range(8)])


def _codes(packed: Any, plane: int, *, in_place: bool = False) -> tuple[Any, Any]:
    """Codes of a plane as bytes, for the first and the last 4 rows; ``in_place`` leaves them multiplied by 4**plane."""
    from tvm import tirx
    from tvm.script import tirx as T

    def byte(value: int) -> Any:
        return tirx.Broadcast(tirx.IntImm("uint8", value), 16)

    halves = []
    for first in (0, 8):
        codes = T.reinterpret("uint8x16", _lanes(packed, first, 8))
        if plane and not in_place:
            codes = tirx.shift_right(codes, byte(2 * plane))
        if plane < 3 or in_place:  # nothing is left above plane 3
            codes = tirx.bitwise_and(codes, byte(3 << 2 * plane if in_place else 3))
        halves.append(T.reinterpret("int8x16", codes))
    return halves[0], halves[1]


def _activations(word: Any) -> Any:
    """The 16 bytes that 4 rows are multiplied with."""
    from tvm.script import tirx as T

    return T.reinterpret("int8x16", _lanes(word, 0, 4))


def _prepare(activations: Any) -> list[Any]:
    """The bytes as they are: a word is the 4 activations of a plane."""
    from tvm.script import tirx as T

    return [T.reinterpret("int32x4", activations)]


def _accumulate(sums: list[Any], packed: Any, plane: int, words: list[Any]) -> list[Any]:
    """Two vectors of products, for 4 rows each: at most 254 · 64 in a lane over a block of 256."""
    from tvm import tirx
    from tvm.script import tirx as T

    # unless this hides that its halves are equal, LLVM reads only the first, and moves the codes' second half there
    hidden = llvm_call("llvm.arithmetic.fence", "float32x4")(T.reinterpret("float32x4", _activations(words[0])))
    activations = T.reinterpret("int8x16", hidden)
    products = [MULTIPLY_I8.build(codes, activations) for codes in _codes(packed, plane)]
    return [tirx.Add(s, p) for s, p in zip(sums, products, strict=True)] if sums else products


def _finish(sums: list[Any]) -> Any:
    """The sums of 2 lanes fit 16 bits, too: 2 · 64 · 254 < 2**15."""
    pairs = (ADD_NEIGHBOURS_I16.build(_lanes(s, 0, 8), _lanes(s, 8, 8)) for s in sums)
    return _join(*map(ADD_PAIRS_I16.build, pairs))


def _zeros() -> Any:
    from tvm import tirx

    return tirx.Broadcast(tirx.IntImm("int32", 0), 4)


def _accumulate_dot(sums: list[Any], packed: Any, plane: int, words: list[Any]) -> list[Any]:
    """Two vectors of sums, for 4 rows each."""
    activations = _activations(words[0])
    before = sums or [_zeros(), _zeros()]
    return [DOT4_I8.build(s, c, activations) for s, c in zip(before, _codes(packed, plane), strict=True)]


def _accumulate_scaled(sums: list[Any], packed: Any, plane: int, words: list[Any]) -> list[Any]:
    """As ``_accumulate_dot``, with codes of planes 1 and 2 left in place and summed apart, 4 and 16 times as much.

    That saves 6 of 14 instructions of unpacking, for 4 more registers of sums. Codes of plane 3 would not fit a signed
    byte; they are shifted, and need no mask.
    """
    activations = _activations(words[0])
    place = 2 * (plane % 3)  # plane 3 adds to plane 0
    before = sums[place : place + 2] or [_zeros(), _zeros()]
    codes = _codes(packed, plane, in_place=plane < 3)
    now = [DOT4_I8.build(s, c, activations) for s, c in zip(before, codes, strict=True)]
    return [*sums[:place], *now, *sums[place + 2 :]]


def _finish_dot(sums: list[Any]) -> Any:
    return _join(sums[0], sums[1])


def _finish_scaled(sums: list[Any]) -> Any:
    from tvm import tirx

    def unscaled(sums: list[Any], bits: int) -> list[Any]:
        return [tirx.shift_right(s, tirx.Broadcast(tirx.IntImm("int32", bits), 4)) for s in sums]

    terms = zip(sums[:2], unscaled(sums[2:4], 2), unscaled(sums[4:], 4), strict=True)
    low, high = (tirx.Add(tirx.Add(a, b), c) for a, b, c in terms)
    return _join(low, high)


def _as_they_are(values: Any) -> Any:
    return values


def _accumulate_int8(total: Any, activations: Any, weights: Any) -> Any:
    """Products of the two halves are added before they are widened: 2 · 127 · 127 < 2**15."""
    from tvm import tirx

    products = MULTIPLY_I8.build(activations, weights)
    sums = ADD_PAIRS_I16.build(tirx.Add(_lanes(products, 0, 8), _lanes(products, 8, 8)))
    return sums if total is None else tirx.Add(total, sums)


def _accumulate_int8_dot(total: Any, activations: Any, weights: Any) -> Any:
    return DOT4_I8.build(_zeros() if total is None else total, activations, weights)


def dotprod_of(plain: Isa) -> Isa:
    """The variant of a NEON target for processors with the dot-product instructions."""
    attributes = [*plain.target.get("mattr", ()), "+dotprod"]  # type: ignore[misc]
    return replace(
        plain,
        name=f"{plain.name}+dotprod",
        kernels="dotprod",
        target={**plain.target, "mattr": attributes},
        panels_per_pass=2,
        ternary_dot=TernaryDot(1, _prepare, _accumulate_scaled, _finish_scaled, from_lanes=True),
        tile_dot=TernaryDot(1, _prepare, _accumulate_dot, _finish_dot, from_lanes=True),
        int8_dot=Int8Dot(4, _as_they_are, _accumulate_int8_dot),
        primitives=table(DOT4_I8),
        needs=("dotprod",),
        variants=(),
    )


PLAIN = Isa(
    name="aarch64-neon",
    kernels="neon",
    target={"kind": "llvm", "mtriple": "aarch64-unknown-linux-gnu", "mattr": ["+neon"]},
    triple="aarch64-linux-gnu.2.28",
    compile_flags=("-mcpu=generic", "-fPIC", "-fvisibility=hidden"),
    link_flags=("-shared", "-Wl,-z,max-page-size=16384", "-Wl,--gc-sections"),
    export_flag="",
    suffix=".so",
    vector_bytes=16,
    panel_rows=PANEL_ROWS,
    panels_per_pass=3,
    columns_per_pass=4,
    converts_halves=True,
    ternary_dot=TernaryDot(1, _prepare, _accumulate, _finish),
    tile_dot=TernaryDot(1, _prepare, _accumulate, _finish, from_lanes=True),
    int8_dot=Int8Dot(4, _as_they_are, _accumulate_int8),
    primitives=table(MULTIPLY_I8, ADD_PAIRS_I16, ADD_NEIGHBOURS_I16),
    program_triple="aarch64-linux-musl",
)

ISA = replace(PLAIN, variants=(dotprod_of(PLAIN),))
