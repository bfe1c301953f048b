"""Element-wise ops, each by one operator or by a function of ``functions.py``, ``powers.py`` or this file.

Values of the IR's i32, truth values among them, are int32; comparisons of ONNX give bool, and are cast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias

import numpy as np
from onnx import TensorProto, numpy_helper

from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.elementwise import ELEMENTWISE, parse_expression
from chimerac.compiler.ir.whole_numbers import LARGEST_INT
from chimerac.targets.onnx import powers
from chimerac.targets.onnx.body import Body
from chimerac.targets.onnx.context import Context, Translate
from chimerac.targets.onnx.functions import FUNCTIONS, call

#: Adds the nodes of an op; operands may differ in type as the op's signature says.
Form: TypeAlias = "Callable[..., str]"


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
    if name in OPERATORS:
        return nodes.op(OPERATORS[name], *operands)
    if nodes.pool.fused and name in FUSED:
        return nodes.op(FUSED[name], *operands)
    if name in FUNCTIONS and name not in FORMS:
        return call(nodes, name, operands[0])
    return FORMS[name](Body(nodes), *operands)


def _zero(b: Body, a: str) -> str:
    return b.op("ConstantOfShape", b.op("Shape", a), value=numpy_helper.from_array(np.zeros(1, np.float32)))


def _compare(operator: str, b: Body, x: str, y: str) -> str:
    return b.truth(b.op(operator, x, y))


def _not_equal(b: Body, x: str, y: str) -> str:
    return b.truth(b.op("Not", b.op("Equal", x, y)))


def _logical(operator: str, b: Body, *operands: str) -> str:
    return b.truth(b.op(operator, *(b.is_true(x) for x in operands)))


def _where(b: Body, condition: str, x: str, y: str) -> str:
    return b.op("Where", b.is_true(condition), x, y)


def _to_int(b: Body, x: str) -> str:
    """ONNX leaves open what becomes of numbers without an integer, so there are none when it casts."""
    known = b.where(b.op("IsNaN", x), 0.0, x)
    whole = b.cast(b.clip(known, -2147483648.0, LARGEST_INT), TensorProto.INT32)
    return b.op("Where", b.greater(known, LARGEST_INT), b.integer(0x7FFFFFFF), whole)


def _floor_div(b: Body, x: str, y: str) -> str:
    """ONNX's division rounds towards zero, and some processors stop at a divisor of 0."""
    zero, one, minus_one = b.integer(0), b.integer(1), b.integer(-1)
    no_divisor, negated = b.op("Equal", y, zero), b.op("Equal", y, minus_one)
    divisor = b.op("Where", b.op("Or", no_divisor, negated), one, y)
    quotient = b.op("Div", x, divisor)
    rest = b.op("Sub", x, b.op("Mul", quotient, divisor))
    differ = b.op("Xor", b.op("Less", rest, zero), b.op("Less", divisor, zero))
    down = b.op("And", differ, b.op("Not", b.op("Equal", rest, zero)))
    quotient = b.op("Sub", quotient, b.truth(down))
    quotient = b.op("Where", negated, b.op("Sub", zero, x), quotient)
    return b.op("Where", no_divisor, zero, quotient)


def _mod(b: Body, x: str, y: str) -> str:
    zero = b.integer(0)
    rest = b.op("Sub", x, b.op("Mul", _floor_div(b, x, y), y))
    return b.op("Where", b.op("Equal", y, zero), zero, rest)


def _int_neg(b: Body, x: str) -> str:
    return b.op("Sub", b.integer(0), x)


def _int_abs(b: Body, x: str) -> str:
    return b.op("Where", b.op("Less", x, b.integer(0)), _int_neg(b, x), x)


#: IR op → the ONNX operator that it is
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
    "floor": "Floor",
    "ceil": "Ceil",
    "round": "Round",
    "int_add": "Add",
    "int_sub": "Sub",
    "int_mul": "Mul",
    "int_maximum": "Max",
    "int_minimum": "Min",
    "int_and": "BitwiseAnd",
    "int_or": "BitwiseOr",
    "int_xor": "BitwiseXor",
}
#: IR op → the operator that stands for it in the fused form, whose bits differ
FUSED = {"sin": "Sin", "cos": "Cos", "pow": "Pow"}
#: IR op → what adds its nodes, where that is no operator and no function of ``functions.py``
FORMS: Mapping[str, Form] = {
    "zero": _zero,
    "rsqrt": powers.rsqrt,
    "pow": powers.power,
    "expm1": powers.expm1,
    "log1p": powers.log1p_total,
    "sin": powers.sin,
    "cos": powers.cos,
    "trunc": powers.trunc,
    "sign": lambda b, x: b.where(b.greater(x, 0.0), 1.0, b.where(b.less(x, 0.0), -1.0, 0.0)),
    "where": _where,
    "int_where": _where,
    "to_float": lambda b, x: b.cast(x, TensorProto.FLOAT),
    "to_int": _to_int,
    "int_floor_div": _floor_div,
    "int_mod": _mod,
    "int_neg": _int_neg,
    "int_abs": _int_abs,
    "not_equal": _not_equal,
    "int_not_equal": _not_equal,
    "logical_not": partial(_logical, "Not"),
    "logical_and": partial(_logical, "And"),
    "logical_or": partial(_logical, "Or"),
    "logical_xor": partial(_logical, "Xor"),
    **{
        prefix + name: partial(_compare, operator)
        for prefix in ("", "int_")
        for name, operator in (("less", "Less"), ("less_equal", "LessOrEqual"), ("equal", "Equal"))
    },
}

TRANSLATORS: Mapping[str, Translate] = {**dict.fromkeys(ELEMENTWISE, build), "fused": build_fused}
