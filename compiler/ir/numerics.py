"""The one definition of exp, log, tanh, … that every target computes bit for bit.

Each function below is a fixed sequence of separately rounded IEEE-754 binary32 operations (add, sub, mul, div, compare,
select) and 32-bit integer operations. It is written once, over an ``Ops`` object: with numpy_math.NUMPY it computes
numpy arrays, with a TensorIR implementation it builds the same expression for a kernel, and
``runtime/native/chm_math.h`` is the same sequence in C. Rules for an ``Ops`` implementation:

* every float operation rounds to nearest even to float32 by itself; nothing is fused, reassociated or simplified
  (``(x + c) - c`` stays two roundings; ``x == x`` is not folded);
* integers are 32-bit two's complement and wrap; ``isar`` is the arithmetic shift, shift counts are Python ints;
* ``to_int`` is only called with integral values in int32 range; ``to_float`` rounds to nearest even;
* ``round_even`` takes any number; the functions of this file call it with |x| < 2**22 only, for which
  ``(x + 12582912) - 12582912`` computes it;
* ``idiv`` rounds towards zero; it is never called with a divisor of 0 or -1;
* ``select`` evaluates both sides; comparisons with a NaN are false;
* constants given to ``f32`` are exactly representable.

All functions are total: a NaN gives the canonical NaN 0x7FC00000, overflow gives an infinity. ``exp`` gives +0 where
the true result is below the smallest normal number. Error bounds in the docstrings are measured against 40-digit
arithmetic; coefficients are minimax fits rounded to float32 from the lowest power up, refitting the rest each time.
Polynomials are evaluated by Horner's rule; coefficient tuples start with the lowest power.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

F = TypeVar("F")  #: float32 value of an Ops implementation
I = TypeVar("I")  # noqa: E741  #: int32 value
B = TypeVar("B")  #: truth value

LOG2_E = 1.4426950216293335
LN2_HI = 0.693145751953125  #: 15 significant bits, so that n * LN2_HI is exact for |n| < 2**9
LN2_LO = 1.428606765330187e-06  #: ln 2 - LN2_HI
EXP_MAX = 88.72283172607422  #: largest x below 128 ln 2, so the largest with a finite exp(x)
EXP_MIN = -87.33654022216797  #: smallest x with exp(x) a normal number
#: exp(r) = 1 + r + r**2 * polynomial(r), |r| <= ln(2)/2
EXP_COEFFICIENTS = (
    0.4999999403953552,
    0.1666652113199234,
    0.04166826605796814,
    0.008368677459657192,
    0.001382073387503624,
)
#: log(1 + f) = f - f**2/2 + f**3 * polynomial(f), sqrt(1/2) <= 1 + f < sqrt(2)
LOG_COEFFICIENTS = (
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
SQRT_HALF_BITS = 0x3F3504F3
TANH_SMALL = 0.625  #: below it tanh(x) = x + x * z * polynomial(z), z = x**2; above it 1 - 2 / (exp(2x) + 1)
TANH_LARGE = 10.0  #: tanh is 1 to float32 from here on
TANH_COEFFICIENTS = (
    -0.3333328366279602,
    0.1333148330450058,
    -0.053742773830890656,
    0.020648062229156494,
    -0.005714063532650471,
)
#: |a| < 1: erf(a) = a + a * polynomial(a**2)
ERF_SMALL_COEFFICIENTS = (
    0.12837916612625122,
    -0.3761262893676758,
    0.11283618211746216,
    -0.02685512602329254,
    0.005190733820199966,
    -0.0008030761382542551,
    7.920368079794571e-05,
)
#: 1 <= |a| <= 4: erf(|a|) = 1 - exp(-|a| * polynomial(|a|)); from 4 on it is 1 to float32
ERF_LARGE_COEFFICIENTS = (
    1.1285951137542725,
    0.6354305148124695,
    0.10562996566295624,
    -0.023050852119922638,
    0.003157016122713685,
    -0.00012975519348401576,
    -3.0193412385415286e-05,
    3.700952447616146e-06,
)
SQRT_HALF = 0.7071067690849304
PHASE_TO_RADIANS = 1.462918119976564e-09  #: 2 pi / 2**32
#: sin(t) = t + t * z * polynomial(z), z = t**2, |t| <= pi/4
SIN_COEFFICIENTS = (-0.1666666716337204, 0.008333380334079266, -0.00019853505364153534, 2.837395186361391e-06)
#: cos(t) = 1 - z/2 + z**2 * polynomial(z)
COS_COEFFICIENTS = (0.04166664555668831, -0.00138873013202101, 2.443066841806285e-05)
SOFTPLUS_LINEAR = 20.0  #: softplus(x) = x above it, as in PyTorch

NAN_BITS = 0x7FC00000
INFINITY_BITS = 0x7F800000
MAGNITUDE = 0x7FFFFFFF
SIGN = -0x80000000


class Ops(Protocol[F, I, B]):
    """The operations the functions are made of; the module docstring gives their rules."""

    def f32(self, value: float) -> F: ...
    def i32(self, value: int) -> I: ...
    def add(self, a: F, b: F) -> F: ...
    def sub(self, a: F, b: F) -> F: ...
    def mul(self, a: F, b: F) -> F: ...
    def div(self, a: F, b: F) -> F: ...
    def sqrt(self, a: F) -> F: ...
    def round_even(self, a: F) -> F: ...
    def less(self, a: F, b: F) -> B: ...
    def greater(self, a: F, b: F) -> B: ...
    def equal(self, a: F, b: F) -> B: ...
    def select(self, condition: B, a: F, b: F) -> F: ...
    def bits(self, a: F) -> I: ...
    def from_bits(self, a: I) -> F: ...
    def to_int(self, a: F) -> I: ...
    def to_float(self, a: I) -> F: ...
    def iadd(self, a: I, b: I) -> I: ...
    def isub(self, a: I, b: I) -> I: ...
    def imul(self, a: I, b: I) -> I: ...
    def idiv(self, a: I, b: I) -> I: ...
    def iand(self, a: I, b: I) -> I: ...
    def ior(self, a: I, b: I) -> I: ...
    def ixor(self, a: I, b: I) -> I: ...
    def ishl(self, a: I, count: int) -> I: ...
    def isar(self, a: I, count: int) -> I: ...
    def iless(self, a: I, b: I) -> B: ...
    def iequal(self, a: I, b: I) -> B: ...
    def iselect(self, condition: B, a: I, b: I) -> I: ...


def maximum(ops: Ops[F, I, B], a: F, b: F) -> F:
    """``a if a > b else b``; with a NaN on either side the result is b."""
    return ops.select(ops.greater(a, b), a, b)


def minimum(ops: Ops[F, I, B], a: F, b: F) -> F:
    """``a if a < b else b``; with a NaN on either side the result is b."""
    return ops.select(ops.less(a, b), a, b)


def polynomial(ops: Ops[F, I, B], x: F, coefficients: tuple[float, ...]) -> F:
    """Horner's rule from the highest power: ``p = p * x + c``, a multiplication and then an addition."""
    result = ops.f32(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = ops.add(ops.mul(result, x), ops.f32(coefficient))
    return result


def negate(ops: Ops[F, I, B], x: F) -> F:
    """-x by flipping the sign bit."""
    return ops.from_bits(ops.ixor(ops.bits(x), ops.i32(SIGN)))


def absolute(ops: Ops[F, I, B], x: F) -> F:
    """|x| by clearing the sign bit."""
    return ops.from_bits(ops.iand(ops.bits(x), ops.i32(MAGNITUDE)))


def with_sign_of(ops: Ops[F, I, B], magnitude: F, x: F) -> F:
    """``magnitude`` (sign bit clear) with the sign bit of x."""
    return ops.from_bits(ops.ior(ops.bits(magnitude), ops.iand(ops.bits(x), ops.i32(SIGN))))


def keep_nan(ops: Ops[F, I, B], x: F, result: F) -> F:
    """``result``, or the canonical NaN where x is a NaN."""
    is_nan = ops.iless(ops.i32(INFINITY_BITS), ops.iand(ops.bits(x), ops.i32(MAGNITUDE)))
    return ops.select(is_nan, ops.from_bits(ops.i32(NAN_BITS)), result)


def exp(ops: Ops[F, I, B], x: F) -> F:
    """e**x, at most 1 ulp off; +0 below EXP_MIN, +infinity above EXP_MAX.

    x = n ln 2 + r with n = round(x / ln 2) (Cody and Waite's reduction in two steps), then 2**n by adding n to the
    exponent field: r < 0 where n = 128, so the field cannot overflow.
    """
    y = minimum(ops, maximum(ops, x, ops.f32(EXP_MIN)), ops.f32(EXP_MAX))
    n = ops.round_even(ops.mul(y, ops.f32(LOG2_E)))
    r = ops.sub(ops.sub(y, ops.mul(n, ops.f32(LN2_HI))), ops.mul(n, ops.f32(LN2_LO)))
    p = polynomial(ops, r, EXP_COEFFICIENTS)
    p = ops.add(ops.add(ops.mul(ops.mul(r, r), p), r), ops.f32(1.0))
    result = ops.from_bits(ops.iadd(ops.bits(p), ops.ishl(ops.to_int(n), 23)))
    result = ops.select(ops.less(x, ops.f32(EXP_MIN)), ops.f32(0.0), result)
    result = ops.select(ops.greater(x, ops.f32(EXP_MAX)), ops.from_bits(ops.i32(INFINITY_BITS)), result)
    return keep_nan(ops, x, result)


def exponent_and_fraction(ops: Ops[F, I, B], x: F) -> tuple[F, F]:
    """(e, f) of a positive x, exactly: ``x = 2**e * (1 + f)``, sqrt(1/2) <= 1 + f < sqrt(2); takes subnormal x."""
    tiny = ops.less(x, ops.f32(1.1754943508222875e-38))
    y = ops.select(tiny, ops.mul(x, ops.f32(8388608.0)), x)
    shift = ops.iselect(tiny, ops.i32(-23), ops.i32(0))
    offset = ops.isub(ops.bits(y), ops.i32(SQRT_HALF_BITS))
    exponent = ops.to_float(ops.iadd(ops.isar(offset, 23), shift))
    mantissa = ops.from_bits(ops.iadd(ops.iand(offset, ops.i32(0x007FFFFF)), ops.i32(SQRT_HALF_BITS)))
    return exponent, ops.sub(mantissa, ops.f32(1.0))


def log(ops: Ops[F, I, B], x: F) -> F:
    """Natural logarithm, at most 1 ulp off; -infinity for 0 of either sign, NaN for x < 0; takes subnormal x."""
    exponent, f = exponent_and_fraction(ops, x)
    square = ops.mul(f, f)
    tail = ops.mul(ops.mul(square, f), polynomial(ops, f, LOG_COEFFICIENTS))
    tail = ops.add(tail, ops.mul(exponent, ops.f32(LN2_LO)))
    tail = ops.sub(tail, ops.mul(square, ops.f32(0.5)))
    result = ops.add(ops.mul(exponent, ops.f32(LN2_HI)), ops.add(f, tail))
    infinity = ops.from_bits(ops.i32(INFINITY_BITS))
    is_infinity = ops.iequal(ops.bits(x), ops.i32(INFINITY_BITS))
    result = ops.select(is_infinity, infinity, result)
    is_zero = ops.iequal(ops.iand(ops.bits(x), ops.i32(MAGNITUDE)), ops.i32(0))
    result = ops.select(is_zero, negate(ops, infinity), result)
    result = ops.select(ops.less(x, ops.f32(0.0)), ops.from_bits(ops.i32(NAN_BITS)), result)
    return keep_nan(ops, x, result)


def log1p(ops: Ops[F, I, B], x: F) -> F:
    """log(1 + x) for x > -1, at most 1.5 ulp off: log of the rounded sum plus its rounding error divided by it."""
    u = ops.add(ops.f32(1.0), x)
    correction = ops.div(ops.sub(x, ops.sub(u, ops.f32(1.0))), u)
    result = ops.add(log(ops, u), correction)
    is_infinity = ops.iequal(ops.bits(x), ops.i32(INFINITY_BITS))
    result = ops.select(is_infinity, ops.from_bits(ops.i32(INFINITY_BITS)), result)
    return keep_nan(ops, x, result)


def sigmoid(ops: Ops[F, I, B], x: F) -> F:
    """1 / (1 + exp(-x)), at most 2.5 ulp off; +0 where exp(-x) overflows."""
    denominator = ops.add(ops.f32(1.0), exp(ops, negate(ops, x)))
    return keep_nan(ops, x, ops.div(ops.f32(1.0), denominator))


def silu(ops: Ops[F, I, B], x: F) -> F:
    """x * sigmoid(x), at most 3 ulp off; -0 for very negative x, minus infinity included."""
    y = maximum(ops, x, ops.f32(-100.0))
    return keep_nan(ops, x, ops.mul(y, sigmoid(ops, y)))


def softplus(ops: Ops[F, I, B], x: F) -> F:
    """log(1 + exp(x)), at most 3 ulp off; x itself above SOFTPLUS_LINEAR."""
    y = minimum(ops, x, ops.f32(SOFTPLUS_LINEAR))
    result = log1p(ops, exp(ops, y))
    result = ops.select(ops.greater(x, ops.f32(SOFTPLUS_LINEAR)), x, result)
    return keep_nan(ops, x, result)


def logsigmoid(ops: Ops[F, I, B], x: F) -> F:
    """log(sigmoid(x)) = -softplus(-x)."""
    return keep_nan(ops, x, negate(ops, softplus(ops, negate(ops, x))))


def tanh(ops: Ops[F, I, B], x: F) -> F:
    """Hyperbolic tangent, at most 2 ulp off, odd to the bit."""
    magnitude = absolute(ops, x)
    bounded = minimum(ops, magnitude, ops.f32(TANH_LARGE))
    e = exp(ops, ops.add(bounded, bounded))
    large = ops.sub(ops.f32(1.0), ops.div(ops.f32(2.0), ops.add(e, ops.f32(1.0))))
    z = ops.mul(magnitude, magnitude)
    small = ops.add(magnitude, ops.mul(ops.mul(magnitude, z), polynomial(ops, z, TANH_COEFFICIENTS)))
    result = ops.select(ops.less(magnitude, ops.f32(TANH_SMALL)), small, large)
    return keep_nan(ops, x, with_sign_of(ops, result, x))


def erf(ops: Ops[F, I, B], x: F) -> F:
    """Error function, at most 2 ulp off, odd to the bit."""
    magnitude = absolute(ops, x)
    bounded = minimum(ops, magnitude, ops.f32(4.0))
    e = exp(ops, negate(ops, ops.mul(bounded, polynomial(ops, bounded, ERF_LARGE_COEFFICIENTS))))
    large = ops.sub(ops.f32(1.0), e)
    z = ops.mul(bounded, bounded)
    small = ops.add(magnitude, ops.mul(magnitude, polynomial(ops, z, ERF_SMALL_COEFFICIENTS)))
    result = ops.select(ops.less(magnitude, ops.f32(1.0)), small, large)
    return keep_nan(ops, x, with_sign_of(ops, result, x))


def gelu_erf(ops: Ops[F, I, B], x: F) -> F:
    """x / 2 * (1 + erf(x / sqrt 2)); absolute error at most 1.5e-7 * max(1, |x|). Minus infinity gives -0."""
    y = maximum(ops, x, ops.f32(-100.0))
    factor = ops.add(ops.f32(1.0), erf(ops, ops.mul(y, ops.f32(SQRT_HALF))))
    return keep_nan(ops, x, ops.mul(ops.mul(y, ops.f32(0.5)), factor))


def sin_cos_phase(ops: Ops[F, I, B], phase: I) -> tuple[F, F]:
    """Sine and cosine of 2 pi * phase / 2**32, absolute error at most 1.3e-7.

    The phase is a u32 held as int32 bits. The nearest quarter turn is split off in integers, so nothing is lost
    however many turns a position makes; what is left is at most an eighth of a turn either way.
    """
    quadrant = ops.iand(ops.isar(ops.iadd(phase, ops.i32(0x20000000)), 30), ops.i32(3))
    t = ops.mul(ops.to_float(ops.isub(phase, ops.ishl(quadrant, 30))), ops.f32(PHASE_TO_RADIANS))
    z = ops.mul(t, t)
    sine = ops.add(t, ops.mul(ops.mul(t, z), polynomial(ops, z, SIN_COEFFICIENTS)))
    tail = ops.mul(ops.mul(z, z), polynomial(ops, z, COS_COEFFICIENTS))
    cosine = ops.add(ops.sub(ops.f32(1.0), ops.mul(z, ops.f32(0.5))), tail)
    swap = ops.iequal(ops.iand(quadrant, ops.i32(1)), ops.i32(1))
    sine_sign = ops.ishl(ops.iand(quadrant, ops.i32(2)), 30)
    cosine_sign = ops.ishl(ops.iand(ops.iadd(quadrant, ops.i32(1)), ops.i32(2)), 30)
    sine_result = ops.ixor(ops.bits(ops.select(swap, cosine, sine)), sine_sign)
    cosine_result = ops.ixor(ops.bits(ops.select(swap, sine, cosine)), cosine_sign)
    return ops.from_bits(sine_result), ops.from_bits(cosine_result)
