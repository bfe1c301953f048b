"""Element-wise ops, by one operator or one function of ``functions.py`` each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import numpy_helper

from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.elementwise import ELEMENTWISE, parse_expression
from chimerac.targets.onnx.context import Context, Translate
from chimerac.targets.onnx.functions import call

#: IR op → ONNX operator
OPERATORS = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "maximum": "Max",
    "minimum": "Min",
    "neg": "Neg",
    "abs": "Abs",
    "sqrt": "Sqrt",
}


def build(context: Context, op: Op) -> tuple[str, ...]:
    """One element-wise op."""
    return (step(context, op.name, [context.value(v) for v in op.operands]),)


def build_fused(context: Context, op: Op) -> tuple[str, ...]:
    """The steps of a fused chain, one after the other."""
    values = {f"a{i}": context.value(v) for i, v in enumerate(op.operands)}
    result = ""
    for index, (name, arguments) in enumerate(parse_expression(op.text("expression"))):
        result = step(context, name, [values[a] for a in arguments])
        values[f"t{index}"] = result
    return (result,)


def step(context: Context, name: str, operands: list[str]) -> str:
    """The value of one element-wise op."""
    nodes = context.nodes
    if name == "zero":
        value = numpy_helper.from_array(np.zeros(1, np.float32))
        return nodes.op("ConstantOfShape", nodes.op("Shape", operands[0]), value=value)
    if name in OPERATORS:
        return nodes.op(OPERATORS[name], *operands)
    return call(nodes, name, operands[0])


TRANSLATORS: Mapping[str, Translate] = {**dict.fromkeys(ELEMENTWISE, build), "fused": build_fused}
