"""The functions of ``compiler/ir/powers.py`` as ONNX nodes, bit for bit, as ``functions.py`` has those of numerics.

They differ in the sign of zeros and in what a NaN becomes.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from chimerac.compiler.ir import numerics as n
from chimerac.compiler.ir import powers as p
from chimerac.targets.onnx.body import Body
from chimerac.targets.onnx.functions import cosine, exp, log, log1p, sine, split

#: Sizes from which the exponent of a number is 1, 2, … 128, counted from that of 1/2.
_SIZES = np.array([2.0**k for k in range(128)], np.float32)
#: Exponent → what makes a size an integer below 2**31, and the window that it is multiplied with.
_FACTORS = np.array([2.0 ** (24 - k // 8 * 8) for k in range(129)], np.float32)
_WINDOWS = np.array([upper << 32 | lower for upper, lower in (p.WINDOWS[k // 8] for k in range(129))], np.uint64)


def total_exp(b: Body, x: str) -> str:
    """exp(x), NaN of a NaN: ``functions.exp`` looks up a power of two, for which it needs a number."""
    unknown = b.op("IsNaN", x)
    return b.where(unknown, np.nan, exp(b, b.where(unknown, 0.0, x)))


def rsqrt(b: Body, x: str) -> str:
    """As -(-1 / d): ONNX Runtime replaces (1 / d) * y by y / d, which rounds once less."""
    return b.op("Neg", b.div(-1.0, b.op("Sqrt", x)))


def expm1(b: Body, x: str) -> str:
    bounded = b.clip(x, float(np.float32(-p.EXPM1_SMALL)), float(np.float32(p.EXPM1_SMALL)))
    small = b.add(bounded, b.mul(b.mul(bounded, bounded), b.horner(bounded, n.EXP_COEFFICIENTS)))
    return b.where(b.less(b.op("Abs", x), p.EXPM1_SMALL), small, b.sub(total_exp(b, x), 1.0))


def log1p_total(b: Body, x: str) -> str:
    return b.where(b.less(x, -0.5), log(b, b.add(x, 1.0)), log1p(b, x))


def trunc(b: Body, x: str) -> str:
    return b.with_sign_of(b.op("Floor", b.op("Abs", x)), x)


def power(b: Body, a: str, exponent: str) -> str:
    size = b.op("Abs", a)
    high, low = _log_in_two(b, size)
    bounded = b.clip(exponent, -p.LARGEST_EXPONENT, p.LARGEST_EXPONENT)
    product, rest = _product_in_two(b, bounded, high)
    main = total_exp(b, product)
    result = b.add(main, b.mul(main, b.add(rest, b.mul(bounded, low))))
    result = b.where(b.equal(main, np.inf), np.inf, result)
    result = b.where(b.equal(main, 0.0), 0.0, result)
    falling = b.less(exponent, 0.0)
    result = b.where(b.equal(size, np.inf), b.where(falling, 0.0, np.inf), result)
    result = b.where(b.equal(size, 0.0), b.where(falling, np.inf, 0.0), result)
    whole = b.equal(trunc(b, exponent), exponent)
    half = b.mul(exponent, 0.5)
    odd = b.op("And", whole, b.op("Not", b.equal(trunc(b, half), half)))
    imaginary = b.op("And", b.op("And", b.less(a, 0.0), b.less(size, np.inf)), b.op("Not", whole))
    imaginary = b.op("And", imaginary, b.op("Not", b.equal(size, 0.0)))
    result = b.where(imaginary, np.nan, result)
    negative = b.op("Or", b.less(a, 0.0), b.less(b.div(1.0, a), 0.0))  # that of -0, too
    result = b.where(b.op("And", odd, negative), b.op("Neg", result), result)
    unknown = b.op("Or", b.op("IsNaN", a), b.op("IsNaN", exponent))
    result = b.where(unknown, np.nan, result)
    result = b.where(b.equal(a, 1.0), 1.0, result)
    return b.where(b.equal(exponent, 0.0), 1.0, result)


def _log_in_two(b: Body, size: str) -> tuple[str, str]:
    exponent, f = split(b, size)
    square, square_rest = _product_in_two(b, f, f)
    first, error = _sum_in_two(b, b.mul(exponent, n.LN2_HI), f)
    second, more = _sum_in_two(b, first, b.mul(square, -0.5))
    tail = b.mul(b.mul(square, f), b.horner(f, n.LOG_COEFFICIENTS))
    tail = b.add(tail, b.mul(exponent, n.LN2_LO))
    tail = b.add(b.add(tail, b.mul(square_rest, -0.5)), b.add(error, more))
    return _sum_in_two(b, second, tail)


def _sum_in_two(b: Body, x: str, y: str) -> tuple[str, str]:
    total = b.add(x, y)
    other = b.sub(total, x)
    return total, b.add(b.sub(x, b.sub(total, other)), b.sub(y, other))


def _product_in_two(b: Body, x: str, y: str) -> tuple[str, str]:
    product = b.mul(x, y)
    x_high, x_low = _halves(b, x)
    y_high, y_low = _halves(b, y)
    rest = b.sub(b.mul(x_high, y_high), product)
    rest = b.add(b.add(rest, b.mul(x_high, y_low)), b.mul(x_low, y_high))
    return product, b.add(rest, b.mul(x_low, y_low))


def _halves(b: Body, x: str) -> tuple[str, str]:
    scaled = b.mul(x, p.SPLIT)
    high = b.sub(scaled, b.sub(scaled, x))
    return high, b.sub(x, high)


def sin(b: Body, x: str) -> str:
    """sin(x) of any x; ``functions.sine`` is the polynomial within."""
    return b.mul(_turned(b, b.op("Abs", x), 0), b.where(b.less(x, 0.0), -1.0, 1.0))


def cos(b: Body, x: str) -> str:
    """cos(x) of any x."""
    return _turned(b, b.op("Abs", x), 1)


def _turned(b: Body, size: str, quarters: int) -> str:
    """sin(size + quarters of a turn): the 64 bits of ``powers._phase`` are one product of int64, which wraps."""
    last = b.constant([-1], "int64")
    reached = b.op("GreaterOrEqual", b.op("Unsqueeze", size, last), b.constant(_SIZES))
    exponent = b.op("ReduceSum", b.cast(reached, TensorProto.INT32), last, keepdims=0)
    bounded = b.op("Min", size, b.constant(np.finfo(np.float32).max))
    factor = b.mul(bounded, b.op("Gather", b.constant(_FACTORS), exponent))
    window = b.op("Gather", b.constant(_WINDOWS.view(np.int64), "int64"), exponent)
    turns = b.cast(b.op("Mul", b.cast(factor, TensorProto.INT64), window), TensorProto.UINT64)
    upper = b.op("BitShift", turns, b.constant(32, "uint64"), direction="RIGHT")
    phase = b.cast(upper, TensorProto.INT64)
    nearest = b.op("Div", b.op("Add", phase, b.constant(1 << 29, "int64")), b.constant(1 << 30, "int64"))
    rest = b.op("Sub", phase, b.op("Mul", nearest, b.constant(1 << 30, "int64")))
    t = b.mul(b.cast(rest, TensorProto.FLOAT), n.PHASE_TO_RADIANS)
    inside = b.less(size, p.QUARTER_PI)
    t = b.where(inside, size, t)
    nearest = b.op("Where", inside, b.constant(0, "int64"), nearest)
    quadrant = b.op("Mod", b.op("Add", nearest, b.constant(quarters, "int64")), b.constant(4, "int64"))
    swap = b.op("Equal", b.op("Mod", quadrant, b.constant(2, "int64")), b.constant(1, "int64"))
    result = b.where(swap, cosine(b, t), sine(b, t))
    result = b.where(b.op("Less", quadrant, b.constant(2, "int64")), result, b.op("Neg", result))
    return b.where(b.less(size, np.inf), result, np.nan)
