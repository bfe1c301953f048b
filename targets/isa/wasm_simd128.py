"""WebAssembly with 128-bit SIMD: every browser since 2023."""

from __future__ import annotations

from typing import Any

import numpy as np

from chimerac.targets.isa.definition import Isa, Primitive, llvm_call, table


def _pairs(a: np.ndarray, b: np.ndarray, dtype: type) -> np.ndarray:
    """Sums of neighbouring products; wraps, where kernels stay within range."""
    products = a.astype(np.int64) * b.astype(np.int64)
    return (products[0::2] + products[1::2]).astype(dtype)


def _products_of_bytes(a: Any, b: Any) -> Any:
    """No instruction multiplies bytes, so 16-bit lanes multiply their low bytes and their high bytes.

    What depends on one operand only is computed once however many products share it.
    """
    from tvm import tirx
    from tvm.script import tirx as T

    def lanes(value: int, dtype: str) -> Any:
        return tirx.Broadcast(tirx.IntImm(dtype, value), 16)

    codes, values = T.reinterpret("uint16x16", a), T.reinterpret("int16x16", b)
    low = tirx.Cast("int16x16", tirx.bitwise_and(codes, lanes(0xFF, "uint16")))
    high = tirx.Cast("int16x16", tirx.shift_right(codes, lanes(8, "uint16")))
    even = tirx.shift_right(tirx.shift_left(values, lanes(8, "int16")), lanes(8, "int16"))
    odd = tirx.shift_right(values, lanes(8, "int16"))
    return tirx.Add(tirx.Mul(low, even), tirx.Mul(high, odd))


def _halves_dot(a: Any, b: Any) -> Any:
    """Two 128-bit instructions for the 256-bit vectors that kernels are written in."""
    from tvm import tirx

    dot = llvm_call("llvm.wasm.dot", "int32x4")
    parts = [
        dot(*(tirx.Shuffle([v], [tirx.IntImm("int32", i) for i in range(start, start + 8)]) for v in (a, b)))
        for start in (0, 8)
    ]
    return tirx.Shuffle(parts, [tirx.IntImm("int32", i) for i in range(8)])


ISA = Isa(
    name="wasm32-simd128",
    target={
        "kind": "llvm",
        "mtriple": "wasm32-unknown-unknown",
        "mattr": ["+simd128", "+bulk-memory"],
        "vector-width": 128,
    },
    triple="wasm32-freestanding",
    compile_flags=("-mcpu=generic+simd128+bulk_memory", "-fvisibility=hidden"),
    link_flags=("-nostdlib", "-Wl,--no-entry", "-Wl,--gc-sections"),
    export_flag="-Wl,--export={}",
    suffix=".wasm",
    vector_bytes=16,
    panel_rows=8,
    panels_per_pass=2,
    primitives=table(
        Primitive(
            "dot2_u8_i8",
            "i16x8.mul twice",
            ("uint8x32", "int8x32"),
            "int16x16",
            lambda a, b: _pairs(a, b, np.int16),
            _products_of_bytes,
        ),
        Primitive(
            "dot2_i16",
            "llvm.wasm.dot twice",
            ("int16x16", "int16x16"),
            "int32x8",
            lambda a, b: _pairs(a, b, np.int32),
            _halves_dot,
        ),
    ),
)
