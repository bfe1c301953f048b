"""Products of chosen rows: the dense product, and 0 for the others; ONNX has no loop over rows that is worth it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from chimerac.compiler.ir.module import Op
from chimerac.targets.onnx.context import Context, Translate
from chimerac.targets.onnx.fused import TRANSLATORS as FUSED
from chimerac.targets.onnx.norms import TRANSLATORS as NORMS
from chimerac.targets.onnx.products import TRANSLATORS as PRODUCTS


def build(context: Context, op: Op) -> tuple[str, ...]:
    """Of any format."""
    nodes, chosen = context.nodes, op.operands[0]
    dense = replace(op, name=op.name.replace("chosen_", ""), operands=op.operands[1:])
    exact = {**NORMS, **PRODUCTS}
    translate = (FUSED if nodes.pool.fused and dense.name in FUSED else exact)[dense.name]
    (y,) = translate(context, dense)
    shut = nodes.op("Equal", context.value(chosen), nodes.f32(0.0))
    return (nodes.op("Where", shut, nodes.f32(0.0), y),)


TRANSLATORS: Mapping[str, Translate] = dict.fromkeys(
    ("chosen_linear", "int8_chosen_matmul", "ternary_chosen_matmul"), build
)
