"""x86-64 with AVX2: every desktop and server processor since 2013 (Intel Haswell, AMD Excavator).

Variants use the instructions that multiply bytes four at a time (VNNI), in their AVX form (Intel Alder Lake, AMD Zen 5)
and in their AVX-512 form (Intel Ice Lake, AMD Zen 4), in both for 8 rows of a panel at a time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from chimerac.targets.isa.definition import Int8Dot, Isa, Primitive, TernaryDot, llvm_call, table

PLANES = 4


def _pairs(a: np.ndarray, b: np.ndarray, dtype: type) -> np.ndarray:
    """Sums of neighbouring products, saturating."""
    products = a.astype(np.int64) * b.astype(np.int64)
    sums = products[0::2] + products[1::2]
    limits = np.iinfo(dtype)
    result: np.ndarray = np.clip(sums, limits.min, limits.max).astype(dtype)
    return result


DOT2_U8_I8 = Primitive(
    "dot2_u8_i8",
    "llvm.x86.avx2.pmadd.ub.sw",
    ("uint8x32", "int8x32"),
    "int16x16",
    lambda a, b: _pairs(a, b, np.int16),
    llvm_call("llvm.x86.avx2.pmadd.ub.sw", "int16x16"),
)
DOT2_I16 = Primitive(
    "dot2_i16",
    "llvm.x86.avx2.pmadd.wd",
    ("int16x16", "int16x16"),
    "int32x8",
    lambda a, b: _pairs(a, b, np.int32),
    llvm_call("llvm.x86.avx2.pmadd.wd", "int32x8"),
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
    products = DOT2_U8_I8.build(T.reinterpret("uint8x32", codes), T.reinterpret("int8x32", words[0]))
    return [tirx.Add(total, products) for total in sums] or [products]


def _finish(sums: list[Any]) -> Any:
    from tvm import tirx

    return DOT2_I16.build(sums[0], tirx.Broadcast(tirx.IntImm("int16", 1), 16))


def _widen(values: Any) -> Any:
    from tvm import tirx

    return tirx.Cast("int16x16", values)


def _accumulate_int8(total: Any, activations: Any, weights: Any) -> Any:
    from tvm import tirx

    products = DOT2_I16.build(activations, weights)
    return products if total is None else tirx.Add(total, products)


def _dots(total: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sums of the products that share an int32 lane, added to ``total``, which wraps around."""
    products = (a.astype(np.int64) * b.astype(np.int64)).reshape(len(total), -1).sum(axis=1)
    result: np.ndarray = (total + products).astype(np.int32)
    return result


ADD_DOT4_U8_I8 = Primitive(
    "add_dot4_u8_i8",
    "llvm.x86.avx512.vpdpbusd.256",
    ("int32x8", "uint8x32", "int8x32"),
    "int32x8",
    _dots,
    llvm_call("llvm.x86.avx512.vpdpbusd.256", "int32x8"),
)


def _zeros() -> Any:
    from tvm import tirx

    return tirx.Broadcast(tirx.IntImm("int32", 0), 8)


def _accumulate_in_place(sums: list[Any], packed: Any, plane: int, words: list[Any]) -> list[Any]:
    """A sum of 4 products per row and plane, with the codes where the plane has them: multiplied by 4**plane."""
    from tvm import tirx
    from tvm.script import tirx as T

    codes = tirx.bitwise_and(packed, tirx.Broadcast(tirx.IntImm("uint16", 0x0303 << 2 * plane), 16))
    before = sums[plane] if len(sums) == PLANES else _zeros()
    total = ADD_DOT4_U8_I8.build(before, T.reinterpret("uint8x32", codes), T.reinterpret("int8x32", words[0]))
    return [*sums[:plane], total, *sums[plane + 1 :]]


def _finish_in_place(sums: list[Any]) -> Any:
    from tvm import tirx

    total = sums[0]
    for plane in range(1, PLANES):
        total = tirx.Add(total, tirx.shift_right(sums[plane], tirx.Broadcast(tirx.IntImm("int32", 2 * plane), 8)))
    return total


def _accumulate_shifted(sums: list[Any], packed: Any, plane: int, words: list[Any]) -> list[Any]:
    """One sum per row, with the codes shifted: columns that share them need the registers."""
    from tvm import tirx
    from tvm.script import tirx as T

    shifted = tirx.shift_right(packed, tirx.Broadcast(tirx.IntImm("uint16", 2 * plane), 16)) if plane else packed
    codes = tirx.bitwise_and(shifted, tirx.Broadcast(tirx.IntImm("uint16", 0x0303), 16))
    before = sums[0] if sums else _zeros()
    return [ADD_DOT4_U8_I8.build(before, T.reinterpret("uint8x32", codes), T.reinterpret("int8x32", words[0]))]


def _finish_shifted(sums: list[Any]) -> Any:
    return sums[0]


IN_PLACE = TernaryDot(1, _prepare, _accumulate_in_place, _finish_in_place)
SHIFTED = TernaryDot(1, _prepare, _accumulate_shifted, _finish_shifted)


def _vnni(plain: Isa, feature: str, attributes: tuple[str, ...], ternary_dot: TernaryDot) -> Isa:
    """Four sums for each of four panels need AVX-512's 32 registers: with 16, shifting is faster."""
    return replace(
        plain,
        name=f"{plain.name}+{feature}",
        kernels=feature,
        target={**plain.target, "mattr": [f"+{a}" for a in attributes]},
        ternary_dot=ternary_dot,
        tile_dot=SHIFTED,
        primitives=table(ADD_DOT4_U8_I8, DOT2_I16),
        needs=(feature,),
        variants=(),
    )


PLAIN = Isa(
    name="x86_64-avx2",
    kernels="avx2",
    target={"kind": "llvm", "mtriple": "x86_64-unknown-linux-gnu", "mcpu": "haswell"},
    triple="x86_64-linux-gnu.2.28",
    compile_flags=("-march=haswell", "-fPIC", "-fvisibility=hidden"),
    link_flags=("-shared", "-Wl,-z,max-page-size=16384", "-Wl,--gc-sections"),
    export_flag="",
    suffix=".so",
    vector_bytes=32,
    panel_rows=8,
    panels_per_pass=4,
    columns_per_pass=4,
    ternary_dot=TernaryDot(1, _prepare, _accumulate, _finish),
    int8_dot=Int8Dot(8, _widen, _accumulate_int8),
    primitives=table(DOT2_U8_I8, DOT2_I16),
)

ISA = replace(
    PLAIN,
    variants=(
        _vnni(PLAIN, "avxvnni", ("avxvnni",), SHIFTED),
        _vnni(PLAIN, "avx512vnni", ("avx512f", "avx512bw", "avx512vl", "avx512vnni"), IN_PLACE),
    ),
)
