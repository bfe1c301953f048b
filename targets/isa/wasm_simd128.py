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


DOT2_I16 = Primitive(
    "dot2_i16", "llvm.wasm.dot", ("int16x8", "int16x8"), "int32x4", _pairs, llvm_call("llvm.wasm.dot", "int32x4")
)

#: What LLVM cannot look through. ``pinned`` values are computed where they are written: LLVM would reorder products
#: until sums no longer fit the engine's registers. It would also unroll a loop of a ``hidden`` number of steps, and
#: write a ``hidden`` constant in the loop, where V8 makes it anew each time.
HELPERS = "\n".join(
    f"""define internal {kind} @{name}({kind} %value) alwaysinline {{
  %result = call {kind} asm {effect} "", "=r,0"({kind} %value)
  ret {kind} %result
}}"""
    for name, kind, effect in (
        ("pinned_i32x4", "<4 x i32>", "sideeffect"),
        ("pinned_i16x8", "<8 x i16>", "sideeffect"),
        ("hidden_i16x8", "<8 x i16>", ""),
        ("hidden_i32", "i32", ""),
    )
)


def helper(name: str, value: Any) -> Any:
    """A value by way of one of ``HELPERS``."""
    from tvm.script import tirx as T

    return T.call_extern(value.ty.dtype, name, value)


def half_of(vector: Any, half: int, dtype: str = "") -> Any:
    """One register, of a vector that takes two; of ``dtype`` if that is given."""
    from tvm import tirx
    from tvm.script import tirx as T

    if dtype:
        base, count = dtype.split("x")
        vector = T.reinterpret(f"{base}x{2 * int(count)}", vector)
    lanes = int(vector.ty.dtype.lanes) // 2
    return tirx.Shuffle([vector], [tirx.IntImm("int32", half * lanes + i) for i in range(lanes)])


def both_halves(halves: list[Any]) -> Any:
    """A vector of two registers."""
    from tvm import tirx

    lanes = int(halves[0].ty.dtype.lanes)
    return tirx.Shuffle(halves, [tirx.IntImm("int32", i) for i in range(2 * lanes)])


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

    mask = helper("hidden_i16x8", tirx.Broadcast(tirx.IntImm("uint16", 3 << 2 * plane), 8))
    found = []
    for half in range(2):
        low = half_of(packed, half)
        high = tirx.shift_right(low, tirx.Broadcast(tirx.IntImm("uint16", 8), 8))
        products = [
            DOT2_I16.build(T.reinterpret("int16x8", tirx.bitwise_and(part, mask)), half_of(word, half, "int16x8"))
            for part, word in zip((low, high), words, strict=True)
        ]
        both = tirx.Add(*products)
        found.append(helper("pinned_i32x4", tirx.Add(sums[half], both) if sums else both))
    return found


def _finish(sums: list[Any]) -> Any:
    from tvm import tirx

    return tirx.shift_right(both_halves(sums), tirx.Broadcast(tirx.IntImm("int32", 6), 8))


def _widen(values: Any) -> list[Any]:
    from tvm import tirx

    wide = tirx.Cast("int16x16", values)
    return [half_of(wide, half) for half in range(2)]


def _accumulate_int8(total: Any, activations: list[Any], weights: list[Any]) -> Any:
    from tvm import tirx

    products = tirx.Add(*(DOT2_I16.build(a, w) for a, w in zip(activations, weights, strict=True)))
    return helper("pinned_i32x4", products if total is None else tirx.Add(total, products))


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
    columns_per_pass=2,
    ternary_dot=TernaryDot(2, _prepare, _accumulate, _finish),
    int8_dot=Int8Dot(4, _widen, _accumulate_int8),
    primitives=table(DOT2_I16),
    step_loops=True,
    helpers=HELPERS,
)
