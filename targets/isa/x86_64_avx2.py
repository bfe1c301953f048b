"""x86-64 with AVX2: every desktop and server processor since 2013 (Intel Haswell, AMD Excavator)."""

from __future__ import annotations

from typing import Any

import numpy as np

from chimerac.targets.isa.definition import Isa, Primitive, TernaryDot, llvm_call, table


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


def _term(packed: Any, plane: int, words: list[Any]) -> Any:
    """Codes of a plane times activations, 2 sums of 2 products per row: at most 127 · 256 over a block of 256."""
    from tvm import tirx
    from tvm.script import tirx as T

    shifted = tirx.shift_right(packed, tirx.Broadcast(tirx.IntImm("uint16", 2 * plane), 16)) if plane else packed
    codes = tirx.bitwise_and(shifted, tirx.Broadcast(tirx.IntImm("uint16", 0x0303), 16))
    return DOT2_U8_I8.build(T.reinterpret("uint8x32", codes), T.reinterpret("int8x32", words[0]))


def _finish(total: Any) -> Any:
    from tvm import tirx

    return DOT2_I16.build(total, tirx.Broadcast(tirx.IntImm("int16", 1), 16))


ISA = Isa(
    name="x86_64-avx2",
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
    ternary_dot=TernaryDot(1, _prepare, _term, _finish),
    primitives=table(DOT2_U8_I8, DOT2_I16),
)
