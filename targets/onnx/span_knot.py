"""The span knot's correction: the descent as a few rounds of the smallest elements."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.knots import NORM_EPS, WORD_BITS
from chimerac.targets.onnx.context import Context, Translate, shape_of
from chimerac.targets.onnx.graph import Nodes
from chimerac.targets.onnx.rotations import transformed


def build_knot_relax(context: Context, op: Op) -> tuple[str, ...]:
    """Of rows [m, D]; those without a memory stay as they are."""
    nodes, (u, kappa, signs, memory, hit) = context.nodes, op.operands
    width, half = int(u.type.shape[-1]), int(signs.type.shape[-1])
    bits, rows = 2 * half, nodes.reshape(context.value(u), -1, width)
    padded = nodes.unsqueeze(nodes.pad_last(rows, 2, half - width), 1)
    f = nodes.reshape(transformed(nodes, nodes.op("Mul", padded, context.value(signs)), half), -1, bits)
    total = nodes.lanes8_sum(nodes.op("Abs", f), bits)
    f = nodes.op("Div", f, nodes.op("Add", nodes.op("Mul", total, nodes.f32(1 / bits)), nodes.f32(NORM_EPS)))
    z = _either(nodes, nodes.op("GreaterOrEqual", f, nodes.f32(0.0)), 1.0, -1.0)
    pull = 0.5 * op.number("weight")
    towards = _either(nodes, _bits(nodes, context.value(memory)), pull, -pull)
    fields = nodes.op("Mul", z, nodes.op("Add", f, towards))
    turned = _descend(nodes, fields, op, bits)
    moved = nodes.op("Where", turned, nodes.op("Mul", z, nodes.f32(-2.0)), nodes.f32(0.0))
    back = nodes.op("Mul", nodes.reshape(transformed(nodes, moved, half), -1, 2, half), context.value(signs))
    first, second = (nodes.op("Gather", back, nodes.i64(side), axis=1) for side in (0, 1))
    back = nodes.op("Mul", nodes.slice(nodes.op("Add", first, second), 0, width, 1), nodes.f32(1 / bits))
    corrected = nodes.op("Add", rows, nodes.op("Mul", context.value(kappa), back))
    read = nodes.op("Greater", context.value(hit), nodes.f32(0.0))
    return (nodes.reshape(nodes.op("Where", read, corrected, rows), *shape_of(u)),)


def _either(nodes: Nodes, condition: str, one: float, other: float) -> str:
    return nodes.op("Where", condition, nodes.f32(one), nodes.f32(other))


def _bits(nodes: Nodes, words: str) -> str:
    """Whether each bit of whole numbers is set, lowest first: bool [bits]."""
    powers = nodes.i64([[1 << i for i in range(WORD_BITS)]])
    # a negative number stands for itself plus 2^32
    wide = nodes.op("Mod", nodes.op("Cast", words, to=TensorProto.INT64), nodes.i64(1 << WORD_BITS))
    halves = nodes.op("Mod", nodes.op("Div", nodes.reshape(wide, -1, 1), powers), nodes.i64(2))
    return nodes.reshape(nodes.op("Equal", halves, nodes.i64(1)), -1)


def _descend(nodes: Nodes, fields: str, op: Op, bits: int) -> str:
    """Which bits are turned in the end, bool [m, n]."""
    none = nodes.op("Less", nodes.op("Abs", fields), nodes.f32(-1.0))
    turned, active = none, ""
    for _ in range(op.integer("rounds")):
        count = nodes.i64([op.integer("flips")])
        places = nodes.emit("TopK", fields, count, outputs=2, axis=-1, largest=0, sorted=1)[1]
        ones = nodes.op("Cast", nodes.op("GreaterOrEqual", places, nodes.i64(0)), to=TensorProto.FLOAT)
        best = nodes.op("ScatterElements", nodes.op("Cast", none, to=TensorProto.FLOAT), places, ones, axis=-1)
        taken = nodes.op("And", nodes.op("Greater", best, nodes.f32(0.5)), nodes.op("Less", fields, nodes.f32(0.0)))
        if active:
            taken = nodes.op("And", taken, active)
        change = nodes.lanes8_sum(nodes.op("Where", taken, fields, nodes.f32(0.0)), bits)
        change = nodes.op("Mul", change, nodes.f32(2 / bits))
        fields = nodes.op("Where", taken, nodes.op("Neg", fields), fields)
        turned = nodes.op("Or", turned, taken)
        enough = nodes.op("LessOrEqual", change, nodes.f32(np.float32(-op.number("early_exit"))))
        active = nodes.op("And", active, enough) if active else enough
    return turned


TRANSLATORS: Mapping[str, Translate] = {"knot_relax": build_knot_relax}
