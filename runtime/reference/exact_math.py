"""exp, log and sums with the same bits as the kernels and ``native/chm_math.h``, in numpy, for the sampler.

The same sequences of float32 operations as ``compiler/ir/numerics.py``, whose docstrings explain them; a test compares
the two. The runtime does not import the compiler, so it has its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
F = np.float32

_EXP = (0.4999999403953552, 0.1666652113199234, 0.04166826605796814, 0.008368677459657192, 0.001382073387503624)
_LOG = (
    0.3333331346511841,
    -0.25000008940696716,
    0.2000207155942917,
    -0.16667988896369934,
    0.14220358431339264,
    -0.12406233698129654,
    0.11883548647165298,
    -0.11670097708702087,
    0.06749267876148224,
)
_LN2_HIGH, _LN2_LOW = F(0.693145751953125), F(1.428606765330187e-06)
_SQRT_HALF_BITS = np.int32(0x3F3504F3)


def exp(x: Floats) -> Floats:
    """e**x: +0 below -87.3365…, infinity above 88.7228…"""
    low, high = F(-87.33654022216797), F(88.72283172607422)
    y = np.clip(x, low, high)
    n = np.rint(y * F(1.4426950216293335))
    r = (y - n * _LN2_HIGH) - n * _LN2_LOW
    p = ((r * r) * _horner(r, _EXP) + r) + F(1)
    result = (p.view(np.int32) + np.left_shift(n.astype(np.int32), np.int32(23))).view(np.float32)
    return np.where(x < low, F(0), np.where(x > high, F(np.inf), result))


def log(x: Floats) -> Floats:
    """Natural logarithm of normal numbers and of 0, which gives minus infinity."""
    offset = x.view(np.int32) - _SQRT_HALF_BITS
    exponent = np.right_shift(offset, np.int32(23)).astype(np.float32)
    f = ((offset & np.int32(0x007FFFFF)) + _SQRT_HALF_BITS).view(np.float32) - F(1)
    square = f * f
    tail = (square * f) * _horner(f, _LOG)
    tail = (tail + exponent * _LN2_LOW) - square * F(0.5)
    return np.where(x == 0, F(-np.inf), exponent * _LN2_HIGH + (f + tail))


def log1p(x: Floats) -> Floats:
    """log(1 + x) for x > -1."""
    u = F(1) + x
    correction: Floats = (x - (u - F(1))) / u
    return log(u) + correction


def _horner(x: Floats, coefficients: tuple[float, ...]) -> Floats:
    result = np.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = result * x + F(coefficient)
    return result


def lanes8_sum(x: Floats) -> np.float32:
    """Sum of a vector in eight lanes: lane j adds elements j, j + 8, … in this order, then lanes pairwise."""
    padded = np.zeros(-(-x.size // 8) * 8, np.float32)
    padded[: x.size] = x
    lanes = np.zeros(8, np.float32)
    for row in padded.reshape(-1, 8):
        lanes = lanes + row
    four = lanes[:4] + lanes[4:]
    two = four[:2] + four[2:]
    return F(two[0] + two[1])
