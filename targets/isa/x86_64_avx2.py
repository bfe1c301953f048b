"""x86-64 with AVX2: every desktop and server processor since 2013 (Intel Haswell, AMD Excavator).

Variants use the instructions that multiply bytes four at a time (VNNI), in their AVX form (Intel Alder Lake, AMD Zen 5)
and in their AVX-512 form (Intel Ice Lake, AMD Zen 4), in both for 8 rows of a panel at a time; the best one has tiles
(Intel Sapphire Rapids), too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from chimerac.targets.isa.definition import Int8Dot, Isa, Primitive, TernaryDot, llvm_call, table
from chimerac.targets.isa.x86_64_amx import amx_of

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


def _lanes(vector: Any) -> int:
    """Of a vector expression."""
    return int(vector.ty.dtype.lanes)


def _codes(packed: Any, shift: int, mask: int) -> Any:
    """``packed`` shifted right, and the bits of each byte that ``mask`` keeps, as bytes."""
    from tvm import tirx
    from tvm.script import tirx as T

    lanes = _lanes(packed)
    shifted = tirx.shift_right(packed, tirx.Broadcast(tirx.IntImm("uint16", shift), lanes)) if shift else packed
    kept = tirx.bitwise_and(shifted, tirx.Broadcast(tirx.IntImm("uint16", mask << 8 | mask), lanes))
    return T.reinterpret(f"uint8x{2 * lanes}", kept)


def _accumulate(sums: list[Any], packed: Any, plane: int, words: list[Any]) -> list[Any]:
    """Codes of a plane times activations, 2 sums of 2 products per row: at most 127 · 256 over a block of 256."""
    from tvm import tirx
    from tvm.script import tirx as T

    products = DOT2_U8_I8.build(_codes(packed, 2 * plane, 3), T.reinterpret("int8x32", words[0]))
    return [tirx.Add(total, products) for total in sums] or [products]


def _accumulate_fours(sums: list[Any], packed: Any, plane: int, words: list[Any]) -> list[Any]:
    """As ``_accumulate``, with the codes of planes 1 and 3 left 4 times as large and summed apart.

    That saves 2 of 3 shifts. Over a block of 128 the larger sums are at most 4 · 127 · 64.
    """
    from tvm import tirx
    from tvm.script import tirx as T

    odd = plane % 2
    products = DOT2_U8_I8.build(_codes(packed, plane // 2 * 4, 3 << 2 * odd), T.reinterpret("int8x32", words[0]))
    total = tirx.Add(sums[odd], products) if len(sums) > odd else products
    return [*sums[:odd], total, *sums[odd + 1 :]]


def _finish(sums: list[Any]) -> Any:
    from tvm import tirx

    return DOT2_I16.build(sums[0], tirx.Broadcast(tirx.IntImm("int16", 1), 16))


def _finish_fours(sums: list[Any]) -> Any:
    from tvm import tirx

    return _finish([tirx.Add(sums[0], tirx.shift_right(sums[1], tirx.Broadcast(tirx.IntImm("int16", 2), 16)))])


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


def _add_dot4(intrinsic: str, rows: int) -> Primitive:
    result = f"int32x{rows}"
    arguments = (result, f"uint8x{4 * rows}", f"int8x{4 * rows}")
    return Primitive(f"add_dot4_u8_i8_{rows}", intrinsic, arguments, result, _dots, llvm_call(intrinsic, result))


ADD_DOT4 = {
    rows: _add_dot4(f"llvm.x86.avx512.vpdpbusd.{bits}", rows) for rows, bits in ((8, 256), (16, 512))
}  #: by the rows of a vector


def _zeros(rows: int) -> Any:
    from tvm import tirx

    return tirx.Broadcast(tirx.IntImm("int32", 0), rows)


def _add_products(total: Any, codes: Any, word: Any) -> Any:
    from tvm.script import tirx as T

    rows = _lanes(word)
    return ADD_DOT4[rows].build(total, codes, T.reinterpret(f"int8x{4 * rows}", word))


#: By the rows of a vector, a value that is computed where it is written: in long stretches of code LLVM would unpack
#: many vectors before it multiplies any, and run out of registers.
HELPERS = {
    rows: f"""define internal <{rows} x i32> @pinned_i32x{rows}(<{rows} x i32> %value) alwaysinline {{
  %result = call <{rows} x i32> asm sideeffect "", "={register},0"(<{rows} x i32> %value)
  ret <{rows} x i32> %result
}}"""
    for rows, register in ((8, "x"), (16, "v"))
}


def _pinned(value: Any) -> Any:
    from tvm.script import tirx as T

    return T.call_extern(f"int32x{_lanes(value)}", f"pinned_i32x{_lanes(value)}", value)


def _add_to(sums: list[Any], index: int, codes: Any, word: Any) -> list[Any]:
    """``sums`` with the products added to one of them, and zeros before it that are not there yet."""
    sums = [*sums, *[_zeros(_lanes(word))] * (index + 1 - len(sums))]
    return [*sums[:index], _pinned(_add_products(sums[index], codes, word)), *sums[index + 1 :]]


def _accumulate_in_place(sums: list[Any], packed: Any, plane: int, words: list[Any]) -> list[Any]:
    """A sum of 4 products per row and plane, with the codes where the plane has them: multiplied by 4**plane."""
    return _add_to(sums, plane, _codes(packed, 0, 3 << 2 * plane), words[0])


def _accumulate_one_shift(sums: list[Any], packed: Any, plane: int, words: list[Any]) -> list[Any]:
    """Two sums per row, that of planes 1 and 3 multiplied by 4."""
    return _add_to(sums, plane % 2, _codes(packed, plane // 2 * 4, 3 << 2 * (plane % 2)), words[0])


def _accumulate_shifted(sums: list[Any], packed: Any, plane: int, words: list[Any]) -> list[Any]:
    """One sum per row, with the codes shifted: columns that share them need the registers."""
    return _add_to(sums, 0, _codes(packed, 2 * plane, 3), words[0])


def _finish_in_place(sums: list[Any]) -> Any:
    """Sums of which each is 4 times as large as the one before it."""
    from tvm import tirx

    total = sums[0]
    for place, scaled in enumerate(sums[1:], start=1):
        bits = tirx.Broadcast(tirx.IntImm("int32", 2 * place), _lanes(scaled))
        total = tirx.Add(total, tirx.shift_right(scaled, bits))
    return total


IN_PLACE = TernaryDot(1, None, _accumulate_in_place, _finish_in_place)
ONE_SHIFT = TernaryDot(1, None, _accumulate_one_shift, _finish_in_place)
SHIFTED = TernaryDot(1, None, _accumulate_shifted, _finish_in_place)


SIGN_I8 = Primitive(
    "sign_i8",
    "llvm.x86.avx2.psign.b",
    ("int8x32", "int8x32"),
    "int8x32",
    lambda a, b: (a * np.sign(b)).astype(np.int8),
    llvm_call("llvm.x86.avx2.psign.b", "int8x32"),
)


#: Of the four floats in the same half of a register, the one that the low two bits of an index name.
CHOOSE_F32 = Primitive(
    "choose_f32",
    "llvm.x86.avx.vpermilvar.ps.256",
    ("float32x8", "int32x8"),
    "float32x8",
    lambda values, index: values[(index & 3) + np.arange(8) // 4 * 4],
    llvm_call("llvm.x86.avx.vpermilvar.ps.256", "float32x8"),
)


def _as_it_is(values: Any) -> Any:
    return values


def _accumulate_int8_dot4(total: Any, activations: Any, weights: Any) -> Any:
    """Magnitudes of weights, which are unsigned, times activations with the weights' signs."""
    from tvm.script import tirx as T

    magnitudes = T.reinterpret("uint8x32", SIGN_I8.build(weights, weights))
    signed = SIGN_I8.build(activations, weights)
    return ADD_DOT4[8].build(_zeros(8) if total is None else total, magnitudes, signed)


def vnni(plain: Isa, feature: str, attributes: tuple[str, ...], ternary_dot: TernaryDot, joined_panels: int) -> Isa:
    """A variant with byte products of four; ``joined_panels`` of 8 rows fill a register."""
    rows = plain.panel_rows * joined_panels
    return replace(
        plain,
        name=f"{plain.name}+{feature}",
        kernels=feature,
        target={**plain.target, "mattr": [f"+{a}" for a in attributes]},
        joined_panels=joined_panels,
        panels_per_pass=2,
        columns_per_pass=4 * joined_panels,
        ternary_dot=ternary_dot,
        tile_dot=SHIFTED,
        int8_dot=Int8Dot(8, _as_it_is, _accumulate_int8_dot4, step=32, otherwise=plain.int8_dot),
        primitives=table(ADD_DOT4[8], ADD_DOT4[rows], SIGN_I8, DOT2_I16),
        needs=(feature,),
        variants=(),
        helpers=HELPERS[rows],
        # products of 64 bytes are faster than tables
        sum_tables=joined_panels == 1,
        wide_lanes=rows if joined_panels > 1 else 0,
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
    panels_per_pass=2,
    columns_per_pass=4,
    ternary_dot=TernaryDot(1, None, _accumulate_fours, _finish_fours, largest_block=128),
    tile_dot=TernaryDot(1, None, _accumulate, _finish),
    int8_dot=Int8Dot(8, _widen, _accumulate_int8),
    primitives=table(DOT2_U8_I8, DOT2_I16, CHOOSE_F32),
    converts_halves=True,
    prefetch_bytes=2048,
    sum_tables=True,
)

AVX512VNNI = vnni(PLAIN, "avx512vnni", ("avx512f", "avx512bw", "avx512vl", "avx512vnni"), IN_PLACE, 2)

#: Four sums of a pass need AVX-512's 32 registers; with 16, two sums and a shift are faster.
ISA = replace(
    PLAIN,
    variants=(
        vnni(PLAIN, "avxvnni", ("avxvnni",), ONE_SHIFT, 1),
        AVX512VNNI,
        amx_of(AVX512VNNI, PLAIN.name),
    ),
)
