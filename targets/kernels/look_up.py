"""Kernel of ternary_look_up: rows of a table of packed trits, which a product with the same weights also reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import tirx

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir.layouts import form_of, panel_rows_of, words_of, words_per_vector
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.halves import decode
from chimerac.targets.kernels.tensorir import Build, Expr, KernelBuilder, shuffle, splat

CHANNELS = 4  #: columns of a word: what lies side by side in the packed bytes of a row


def build_ternary_look_up(spec: KernelSpec, isa: Isa) -> Any:
    """ids i32[...], table u8[bytes]<form.rR>, table_scales f16[panels, G, R]<panel.rR> → f32[..., D]."""
    b = KernelBuilder(spec, isa)
    ids, table, scales = b.operands
    layout, width, group = spec.operands[1].layout, spec.integer("columns"), spec.integer("group")
    if not layout or group % CHANNELS:
        raise InternalError(f"no ternary look-up in {spec.operands[1]} with groups of {group}")
    form, high = form_of(layout), panel_rows_of(layout)
    per_vector = words_per_vector(form)
    vectors, groups = words_of(width, form) // per_vector, -(-width // group)
    ops = TirOps(b, CHANNELS)
    with b.loop(b.extent(spec.operands[0].shape)) as i:
        row = b.let(ids.load(i))
        panel = b.let(tirx.truncdiv(row, high))
        inside = b.let(row - panel * high)
        first = b.let(panel * (vectors * CHANNELS * high) + inside * CHANNELS)
        scale_row = b.let(panel * (groups * high) + inside)

        def word(codes: Expr, column: Expr, count: int) -> None:
            """Store the weights of up to 4 columns."""
            scale = decode(b, scales.load(scale_row + b.let(tirx.truncdiv(column, group)) * high), 1)
            value = ops.mul(ops.to_float(ops.isub(codes, ops.i32(1))), splat(scale, CHANNELS))
            place = b.let(i * width + column)
            if count == CHANNELS:
                b.store(b.results[0], place, value)
            for lane in range(count % CHANNELS):
                b.store(b.results[0], place + lane, shuffle([value], [lane]))

        def vector(v: int | Expr, extent: int) -> None:
            """Store the weights of the first ``extent`` columns that share bytes."""
            packed = b.hold(tirx.Cast("int32x4", table.load(first + v * (CHANNELS * high), CHANNELS)))
            column = b.let(v * (per_vector * CHANNELS) + tirx.IntImm("int32", 0))
            for p in range(-(-extent // CHANNELS)):
                if form == "t2":
                    codes = ops.iand(ops.isar(packed, 2 * p), ops.i32(3))
                else:
                    packed = ops.iadd(ops.iadd(packed, packed), packed)  # digits: compiler/ir/base3.py
                    codes = ops.isar(packed, 8)
                    packed = ops.iand(packed, ops.i32(255))
                word(codes, b.let(column + p * CHANNELS), min(CHANNELS, extent - p * CHANNELS))

        whole, rest = divmod(width, per_vector * CHANNELS)
        if whole:
            with b.loop(whole) as v:
                vector(v, per_vector * CHANNELS)
        if rest:
            vector(tirx.IntImm("int32", whole), rest)
    return b.finish()


KERNELS: Mapping[str, Build] = {"ternary_look_up": build_ternary_look_up}
