"""The functions of ``compiler/ir/numerics.py`` as ONNX nodes, bit for bit.

Every operator used here rounds once, or not at all (Add, Sub, Mul, Div, Round, Clip, comparisons, Where, Gather), so
the same sequence gives the same bits in any runtime that computes these correctly. Where ``numerics`` works on the
bits of a number, the same value is computed another way: ``2**n`` and the exponent come from tables, signs from
comparisons. Differences are left in the sign of zeros and in what a NaN becomes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from onnx import TensorProto

from chimerac.compiler.ir import numerics as n
from chimerac.targets.onnx.graph import Nodes

#: ``EXPONENTS[i]`` for i in -126..128 is 2**(i - 1); negative i count from the end, as ``Gather`` does.
EXPONENTS = np.array([2.0 ** (i - 1) for i in (*range(129), *range(-126, 0))], np.float32)
#: sqrt(1/2) * 2**k for k in -126..128: the smallest number with exponent k after the split that ``numerics.log`` makes.
SPLITS = (np.arange(1, 255, dtype=np.int32) << 23 | (n.SQRT_HALF_BITS & 0x7FFFFF)).view(np.float32)
#: 2**-k for exponents k in -126..128, as two factors that are normal numbers.
INVERSES = np.array([[2.0 ** -(k // 2), 2.0 ** -(k - k // 2)] for k in range(-126, 129)], np.float32)


class Body:
    """Appends the nodes of a function to a graph; every method returns the name of the value it computes."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def op(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self._nodes.op(op, *inputs, **attributes)

    def constant(self, value: object, dtype: str = "float32") -> str:
        return self._nodes.pool.constant(np.asarray(value, dtype), "f32" if dtype == "float32" else "i64")

    def add(self, a: str, b: str | float) -> str:
        return self.op("Add", a, self._operand(b))

    def sub(self, a: str | float, b: str | float) -> str:
        return self.op("Sub", self._operand(a), self._operand(b))

    def mul(self, a: str, b: str | float) -> str:
        return self.op("Mul", a, self._operand(b))

    def div(self, a: str | float, b: str) -> str:
        return self.op("Div", self._operand(a), b)

    def where(self, condition: str, a: str | float, b: str | float) -> str:
        return self.op("Where", condition, self._operand(a), self._operand(b))

    def less(self, a: str, b: str | float) -> str:
        return self.op("Less", a, self._operand(b))

    def greater(self, a: str, b: str | float) -> str:
        return self.op("Greater", a, self._operand(b))

    def clip(self, x: str, low: float, high: float) -> str:
        return self.op("Clip", x, self.constant(low), self.constant(high))

    def call(self, function: str, x: str) -> str:
        return FUNCTIONS[function](self, x)

    def horner(self, x: str, coefficients: Sequence[float]) -> str:
        result = self.add(self.mul(x, coefficients[-1]), coefficients[-2])
        for coefficient in reversed(coefficients[:-2]):
            result = self.add(self.mul(result, x), coefficient)
        return result

    def _operand(self, value: str | float) -> str:
        return value if isinstance(value, str) else self.constant(value)


def exp(b: Body, x: str) -> str:
    """Beyond ``EXP_MAX`` the last product overflows to infinity by itself; 89 is far enough beyond."""
    y = b.clip(x, n.EXP_MIN, 89.0)
    turns = b.op("Round", b.mul(y, n.LOG2_E))
    r = b.sub(b.sub(y, b.mul(turns, n.LN2_HI)), b.mul(turns, n.LN2_LO))
    p = b.horner(r, n.EXP_COEFFICIENTS)
    p = b.add(b.add(b.mul(b.mul(r, r), p), r), 1.0)
    scale = b.op("Gather", b.constant(EXPONENTS), b.op("Cast", turns, to=TensorProto.INT32))
    result = b.mul(b.add(p, p), scale)  # half the scale and twice p: 2**128 is no float32
    return b.where(b.less(x, n.EXP_MIN), 0.0, result)


def log(b: Body, x: str) -> str:
    """The exponent is the number of table entries up to x."""
    tiny = b.less(x, 1.1754943508222875e-38)
    y = b.where(tiny, b.mul(x, 8388608.0), x)
    last = b.constant([-1], "int64")
    reached = b.op("GreaterOrEqual", b.op("Unsqueeze", y, last), b.constant(SPLITS))
    index = b.op("ReduceSum", b.op("Cast", reached, to=TensorProto.INT32), last, keepdims=0)
    factors = b.op("Gather", b.constant(INVERSES), index)
    first, second = (b.op("Gather", factors, b.constant(i, "int64"), axis=-1) for i in (0, 1))
    mantissa = b.mul(b.mul(y, first), second)
    exponent = b.sub(b.op("Cast", index, to=TensorProto.FLOAT), b.where(tiny, 126.0 + 23.0, 126.0))
    f = b.sub(mantissa, 1.0)
    square = b.mul(f, f)
    tail = b.mul(b.mul(square, f), b.horner(f, n.LOG_COEFFICIENTS))
    tail = b.add(tail, b.mul(exponent, n.LN2_LO))
    tail = b.sub(tail, b.mul(square, 0.5))
    result = b.add(b.mul(exponent, n.LN2_HI), b.add(f, tail))
    result = b.where(b.op("Equal", x, b.constant(np.inf)), np.inf, result)
    result = b.where(b.op("Equal", x, b.constant(0.0)), -np.inf, result)
    return b.where(b.less(x, 0.0), np.nan, result)


def log1p(b: Body, x: str) -> str:
    u = b.add(x, 1.0)
    correction = b.div(b.sub(x, b.sub(u, 1.0)), u)
    result = b.add(b.call("log", u), correction)
    return b.where(b.op("Equal", x, b.constant(np.inf)), np.inf, result)


def sigmoid(b: Body, x: str) -> str:
    """As -(-1 / d): ONNX Runtime replaces (1 / d) * y by y / d, which rounds once less."""
    return b.op("Neg", b.div(-1.0, b.add(b.call("exp", b.op("Neg", x)), 1.0)))


def silu(b: Body, x: str) -> str:
    """As -y * (-1 / d), for the same reason."""
    minus = b.op("Neg", b.op("Max", x, b.constant(-100.0)))
    return b.mul(minus, b.div(-1.0, b.add(b.call("exp", minus), 1.0)))


def softplus(b: Body, x: str) -> str:
    y = b.op("Min", x, b.constant(n.SOFTPLUS_LINEAR))
    return b.where(b.greater(x, n.SOFTPLUS_LINEAR), x, b.call("log1p", b.call("exp", y)))


def logsigmoid(b: Body, x: str) -> str:
    return b.op("Neg", b.call("softplus", b.op("Neg", x)))


def tanh(b: Body, x: str) -> str:
    magnitude = b.op("Abs", x)
    bounded = b.op("Min", magnitude, b.constant(n.TANH_LARGE))
    large = b.sub(1.0, b.div(2.0, b.add(b.call("exp", b.add(bounded, bounded)), 1.0)))
    z = b.mul(magnitude, magnitude)
    small = b.add(magnitude, b.mul(b.mul(magnitude, z), b.horner(z, n.TANH_COEFFICIENTS)))
    return _with_sign_of(b, b.where(b.less(magnitude, n.TANH_SMALL), small, large), x)


def erf(b: Body, x: str) -> str:
    magnitude = b.op("Abs", x)
    bounded = b.op("Min", magnitude, b.constant(4.0))
    exponent = b.op("Neg", b.mul(bounded, b.horner(bounded, n.ERF_LARGE_COEFFICIENTS)))
    large = b.sub(1.0, b.call("exp", exponent))
    z = b.mul(bounded, bounded)
    small = b.add(magnitude, b.mul(magnitude, b.horner(z, n.ERF_SMALL_COEFFICIENTS)))
    return _with_sign_of(b, b.where(b.less(magnitude, 1.0), small, large), x)


def gelu(b: Body, x: str) -> str:
    y = b.op("Max", x, b.constant(-100.0))
    factor = b.add(b.call("erf", b.mul(y, n.SQRT_HALF)), 1.0)
    return b.mul(b.mul(y, 0.5), factor)


def _with_sign_of(b: Body, magnitude: str, x: str) -> str:
    return b.where(b.less(x, 0.0), b.op("Neg", magnitude), magnitude)


def sine(b: Body, t: str) -> str:
    """sin(t) for ``|t| <= pi/4``."""
    z = b.mul(t, t)
    return b.add(t, b.mul(b.mul(t, z), b.horner(z, n.SIN_COEFFICIENTS)))


def cosine(b: Body, t: str) -> str:
    """cos(t) for ``|t| <= pi/4``."""
    z = b.mul(t, t)
    tail = b.mul(b.mul(z, z), b.horner(z, n.COS_COEFFICIENTS))
    return b.add(b.sub(1.0, b.mul(z, 0.5)), tail)


#: name → what appends its nodes for an input
FUNCTIONS: dict[str, Callable[[Body, str], str]] = {
    "exp": exp,
    "log": log,
    "log1p": log1p,
    "sigmoid": sigmoid,
    "silu": silu,
    "softplus": softplus,
    "logsigmoid": logsigmoid,
    "tanh": tanh,
    "erf": erf,
    "gelu": gelu,
    "sine": sine,
    "cosine": cosine,
}


#: function → the operators that stand for it in the fused form, whose bits differ
OPERATORS: dict[str, Callable[[Nodes, str], str]] = {
    **{
        name: partial(lambda nodes, x, op: nodes.op(op, x), op=op)
        for name, op in {
            "exp": "Exp",
            "log": "Log",
            "tanh": "Tanh",
            "sigmoid": "Sigmoid",
            "softplus": "Softplus",
            "gelu": "Gelu",
            "sine": "Sin",
            "cosine": "Cos",
        }.items()
    },
    "silu": lambda nodes, x: nodes.op("Mul", x, nodes.op("Sigmoid", x)),
    "logsigmoid": lambda nodes, x: nodes.op("Neg", nodes.op("Softplus", nodes.op("Neg", x))),
}


def call(nodes: Nodes, function: str, x: str) -> str:
    """Append a function of a value; its result.

    The nodes stand where they are used. As functions of the model they would make a smaller file, but ONNX Runtime
    takes seconds to put a hundred calls in place when it loads the model.
    """
    if nodes.pool.fused:
        return OPERATORS[function](nodes, x)
    return FUNCTIONS[function](Body(nodes), x)
