"""The functions of ``compiler/ir/numerics.py`` as ONNX nodes, bit for bit.

Every operator used here rounds once, or not at all (Add, Sub, Mul, Div, Round, Clip, comparisons, Where, Gather), so
the same sequence gives the same bits in any runtime that computes these correctly. Where ``numerics`` works on the
bits of a number, the same value is computed another way: ``2**n`` and the exponent come from tables, signs from
comparisons. Differences are left in the sign of zeros and in what a NaN becomes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from onnx import TensorProto

from chimerac.compiler.ir import numerics as n
from chimerac.targets.onnx.body import Body
from chimerac.targets.onnx.graph import Nodes

#: ``EXPONENTS[i]`` for i in -126..128 is 2**(i - 1); negative i count from the end, as ``Gather`` does.
EXPONENTS = np.array([2.0 ** (i - 1) for i in (*range(129), *range(-126, 0))], np.float32)
#: sqrt(1/2) * 2**k for k in -126..128: the smallest number with exponent k after the split that ``numerics.log`` makes.
SPLITS = (np.arange(1, 255, dtype=np.int32) << 23 | (n.SQRT_HALF_BITS & 0x7FFFFF)).view(np.float32)
#: 2**-k for exponents k in -126..128, as two factors that are normal numbers.
INVERSES = np.array([[2.0 ** -(k // 2), 2.0 ** -(k - k // 2)] for k in range(-126, 129)], np.float32)


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


def split(b: Body, x: str) -> tuple[str, str]:
    """(k, f) of a positive x = 2**k (1 + f), as ``numerics.log`` splits it.

    The exponent is the number of table entries up to x.
    """
    tiny = b.less(x, 1.1754943508222875e-38)
    y = b.where(tiny, b.mul(x, 8388608.0), x)
    last = b.constant([-1], "int64")
    reached = b.op("GreaterOrEqual", b.op("Unsqueeze", y, last), b.constant(SPLITS))
    index = b.op("ReduceSum", b.op("Cast", reached, to=TensorProto.INT32), last, keepdims=0)
    factors = b.op("Gather", b.constant(INVERSES), index)
    first, second = (b.op("Gather", factors, b.constant(i, "int64"), axis=-1) for i in (0, 1))
    mantissa = b.mul(b.mul(y, first), second)
    exponent = b.sub(b.op("Cast", index, to=TensorProto.FLOAT), b.where(tiny, 126.0 + 23.0, 126.0))
    return exponent, b.sub(mantissa, 1.0)


def log(b: Body, x: str) -> str:
    exponent, f = split(b, x)
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
    result = b.add(log(b, u), correction)
    return b.where(b.op("Equal", x, b.constant(np.inf)), np.inf, result)


def sigmoid(b: Body, x: str) -> str:
    """As -(-1 / d): ONNX Runtime replaces (1 / d) * y by y / d, which rounds once less."""
    return b.op("Neg", b.div(-1.0, b.add(exp(b, b.op("Neg", x)), 1.0)))


def silu(b: Body, x: str) -> str:
    """As -y * (-1 / d), for the same reason."""
    minus = b.op("Neg", b.op("Max", x, b.constant(-100.0)))
    return b.mul(minus, b.div(-1.0, b.add(exp(b, minus), 1.0)))


def softplus(b: Body, x: str) -> str:
    y = b.op("Min", x, b.constant(n.SOFTPLUS_LINEAR))
    return b.where(b.greater(x, n.SOFTPLUS_LINEAR), x, log1p(b, exp(b, y)))


def logsigmoid(b: Body, x: str) -> str:
    return b.op("Neg", softplus(b, b.op("Neg", x)))


def tanh(b: Body, x: str) -> str:
    magnitude = b.op("Abs", x)
    bounded = b.op("Min", magnitude, b.constant(n.TANH_LARGE))
    large = b.sub(1.0, b.div(2.0, b.add(exp(b, b.add(bounded, bounded)), 1.0)))
    z = b.mul(magnitude, magnitude)
    small = b.add(magnitude, b.mul(b.mul(magnitude, z), b.horner(z, n.TANH_COEFFICIENTS)))
    return b.with_sign_of(b.where(b.less(magnitude, n.TANH_SMALL), small, large), x)


def erf(b: Body, x: str) -> str:
    magnitude = b.op("Abs", x)
    bounded = b.op("Min", magnitude, b.constant(4.0))
    exponent = b.op("Neg", b.mul(bounded, b.horner(bounded, n.ERF_LARGE_COEFFICIENTS)))
    large = b.sub(1.0, exp(b, exponent))
    z = b.mul(bounded, bounded)
    small = b.add(magnitude, b.mul(magnitude, b.horner(z, n.ERF_SMALL_COEFFICIENTS)))
    return b.with_sign_of(b.where(b.less(magnitude, 1.0), small, large), x)


def gelu(b: Body, x: str) -> str:
    y = b.op("Max", x, b.constant(-100.0))
    factor = b.add(erf(b, b.mul(y, n.SQRT_HALF)), 1.0)
    return b.mul(b.mul(y, 0.5), factor)


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
            "erf": "Erf",
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
