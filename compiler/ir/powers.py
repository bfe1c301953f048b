"""Powers, exp(x) - 1 and the sine of any number, written as ``numerics.py`` writes its functions."""

from __future__ import annotations

from chimerac.compiler.ir.numerics import (
    COS_COEFFICIENTS,
    EXP_COEFFICIENTS,
    INFINITY_BITS,
    LN2_HI,
    LN2_LO,
    LOG_COEFFICIENTS,
    NAN_BITS,
    PHASE_TO_RADIANS,
    SIGN,
    SIN_COEFFICIENTS,
    B,
    F,
    I,
    Ops,
    absolute,
    exp,
    exponent_and_fraction,
    keep_nan,
    log,
    log1p,
    maximum,
    minimum,
    negate,
    polynomial,
    with_sign_of,
)
from chimerac.compiler.ir.whole_numbers import trunc

EXPM1_SMALL = 0.34657  #: ln(2) / 2 and a little less: below it exp(x) - 1 by the polynomial of exp
LARGEST_EXPONENT = 1099511627776.0  #: 2**40: a power with a larger one, of a base other than 1, is 0 or infinity
SPLIT = 4097.0  #: 2**12 + 1: splits a float32 into two of 12 bits
QUARTER_PI = 0.7853981852531433
#: 2**176 / (2 pi), rounded down.
TURNS = 0x28BE60DB9391054A7F09D5F47D4D377036D8A5664F10
#: For q of 0 to 16 the 64 bits after the point of 2**(8 q - 24) / (2 pi), as words of 32 bits, the upper one first.
WINDOWS = tuple(divmod((TURNS >> (136 - 8 * q)) % (1 << 64), 1 << 32) for q in range(17))


def rsqrt(ops: Ops[F, I, B], x: F) -> F:
    """1 / sqrt(x), at most 1.5 ulp off."""
    return ops.div(ops.f32(1.0), ops.sqrt(x))


def expm1(ops: Ops[F, I, B], x: F) -> F:
    """exp(x) - 1, at most 3 ulp off; a zero of the sign of x."""
    bounded = minimum(ops, maximum(ops, x, ops.f32(-EXPM1_SMALL)), ops.f32(EXPM1_SMALL))
    small = ops.add(bounded, ops.mul(ops.mul(bounded, bounded), polynomial(ops, bounded, EXP_COEFFICIENTS)))
    large = ops.sub(exp(ops, x), ops.f32(1.0))
    result = ops.select(ops.less(absolute(ops, x), ops.f32(EXPM1_SMALL)), small, large)
    return keep_nan(ops, x, with_sign_of(ops, absolute(ops, result), x))


def log1p_total(ops: Ops[F, I, B], x: F) -> F:
    """log(1 + x), at most 1.5 ulp off; -infinity for -1, NaN below it."""
    bounded = maximum(ops, x, ops.f32(-0.5))
    result = ops.select(ops.less(x, bounded), log(ops, ops.add(ops.f32(1.0), x)), log1p(ops, x))
    return keep_nan(ops, x, result)


def power(ops: Ops[F, I, B], a: F, b: F) -> F:
    """a to the b, at most 16 ulp off, with the special cases of C's ``pow``; +0 below the smallest normal number.

    exp(b log |a|), with the logarithm and the product in two float32 each; the sign follows from b's parity.
    """
    size = absolute(ops, a)
    high, low = _log_in_two(ops, size)
    bound = ops.f32(LARGEST_EXPONENT)
    exponent = minimum(ops, maximum(ops, b, negate(ops, bound)), bound)
    product, rest = _product_in_two(ops, exponent, high)
    rest = ops.add(rest, ops.mul(exponent, low))
    main = exp(ops, product)
    result = ops.add(main, ops.mul(main, rest))
    infinity = ops.from_bits(ops.i32(INFINITY_BITS))
    zero, one = ops.f32(0.0), ops.f32(1.0)
    result = ops.select(ops.equal(main, infinity), infinity, result)
    result = ops.select(ops.equal(main, zero), zero, result)
    rises = ops.select(ops.less(b, zero), zero, infinity)  # what an infinite base gives
    falls = ops.select(ops.less(b, zero), infinity, zero)  # what a base of 0 gives
    result = ops.select(ops.equal(size, infinity), rises, result)
    result = ops.select(ops.equal(size, zero), falls, result)
    whole = ops.equal(trunc(ops, b), b)
    half = ops.mul(b, ops.f32(0.5))
    odd = ops.select(ops.equal(trunc(ops, half), half), zero, ops.select(whole, one, zero))
    nan = ops.from_bits(ops.i32(NAN_BITS))
    imaginary = ops.select(whole, result, ops.select(ops.less(size, infinity), nan, result))
    result = ops.select(ops.less(a, zero), imaginary, result)
    signed = ops.from_bits(ops.ior(ops.bits(result), ops.iand(ops.bits(a), ops.i32(SIGN))))
    result = ops.select(ops.equal(odd, one), signed, result)
    result = keep_nan(ops, a, keep_nan(ops, b, result))
    result = ops.select(ops.equal(a, one), one, result)
    return ops.select(ops.equal(b, zero), one, result)


def _log_in_two(ops: Ops[F, I, B], x: F) -> tuple[F, F]:
    """log(x) of a positive number as a sum of two, by the steps of ``numerics.log``: relative error below 2**-27."""
    exponent, fraction = exponent_and_fraction(ops, x)
    return log_of_parts(ops, exponent, fraction)


def log_of_parts(ops: Ops[F, I, B], exponent: F, f: F) -> tuple[F, F]:
    """log(2**exponent * (1 + f)) as a sum of two."""
    square, square_rest = _product_in_two(ops, f, f)
    minus_half = ops.f32(-0.5)
    first, error = _sum_in_two(ops, ops.mul(exponent, ops.f32(LN2_HI)), f)
    second, more = _sum_in_two(ops, first, ops.mul(square, minus_half))
    tail = ops.mul(ops.mul(square, f), polynomial(ops, f, LOG_COEFFICIENTS))
    tail = ops.add(tail, ops.mul(exponent, ops.f32(LN2_LO)))
    tail = ops.add(ops.add(tail, ops.mul(square_rest, minus_half)), ops.add(error, more))
    return _sum_in_two(ops, second, tail)


def _sum_in_two(ops: Ops[F, I, B], a: F, b: F) -> tuple[F, F]:
    """The rounded sum, and what it lacks (Knuth)."""
    total = ops.add(a, b)
    other = ops.sub(total, a)
    return total, ops.add(ops.sub(a, ops.sub(total, other)), ops.sub(b, other))


def _product_in_two(ops: Ops[F, I, B], a: F, b: F) -> tuple[F, F]:
    """The rounded product, and what it lacks (Dekker); for numbers below 2**115."""
    product = ops.mul(a, b)
    a_high, a_low = _halves(ops, a)
    b_high, b_low = _halves(ops, b)
    rest = ops.sub(ops.mul(a_high, b_high), product)
    rest = ops.add(ops.add(rest, ops.mul(a_high, b_low)), ops.mul(a_low, b_high))
    return product, ops.add(rest, ops.mul(a_low, b_low))


def _halves(ops: Ops[F, I, B], x: F) -> tuple[F, F]:
    """A number as a sum of two with 12 significant bits each."""
    scaled = ops.mul(x, ops.f32(SPLIT))
    high = ops.sub(scaled, ops.sub(scaled, x))
    return high, ops.sub(x, high)


def sine(ops: Ops[F, I, B], x: F) -> F:
    """sin(x), absolute error at most 1.3e-7 for any x, 1 ulp for |x| <= pi/4; NaN for infinities."""
    return _turned(ops, x, 0)


def cosine(ops: Ops[F, I, B], x: F) -> F:
    """cos(x), absolute error at most 1.3e-7 for any x; NaN for infinities."""
    return _turned(ops, x, 1)


def _turned(ops: Ops[F, I, B], x: F, quarters: int) -> F:
    """sin(x + quarters of a turn).

    |x| beyond pi/4 is m 2**(8 q + s - 24) with integers m < 2**24 and s < 8; m 2**s times the 64 bits of
    2**(8 q - 24) / (2 pi) after the point, of which the upper 32 are x in turns (Payne and Hanek). The nearest quarter
    is split off, as ``sin_cos_phase`` does it.
    """
    size = absolute(ops, x)
    exponent = ops.isub(ops.isar(ops.bits(size), 23), ops.i32(126))  # from 0 for sizes from 1/2
    exponent = ops.iselect(ops.iless(exponent, ops.i32(0)), ops.i32(0), exponent)
    mantissa = ops.ior(ops.iand(ops.bits(size), ops.i32(0x007FFFFF)), ops.i32(0x00800000))
    for bit in (4, 2, 1):
        shifted = ops.ishl(mantissa, bit)
        has_bit = ops.iequal(ops.iand(exponent, ops.i32(bit)), ops.i32(bit))
        mantissa = ops.iselect(has_bit, shifted, mantissa)
    phase = _phase(ops, mantissa, ops.isar(exponent, 3))
    quadrant = ops.iand(ops.isar(ops.iadd(phase, ops.i32(0x20000000)), 30), ops.i32(3))
    t = ops.mul(ops.to_float(ops.isub(phase, ops.ishl(quadrant, 30))), ops.f32(PHASE_TO_RADIANS))
    inside = ops.less(size, ops.f32(QUARTER_PI))
    t = ops.select(inside, size, t)
    quadrant = ops.iselect(inside, ops.i32(0), quadrant)
    z = ops.mul(t, t)
    sine_of = ops.add(t, ops.mul(ops.mul(t, z), polynomial(ops, z, SIN_COEFFICIENTS)))
    tail = ops.mul(ops.mul(z, z), polynomial(ops, z, COS_COEFFICIENTS))
    cosine_of = ops.add(ops.sub(ops.f32(1.0), ops.mul(z, ops.f32(0.5))), tail)
    if quarters:
        quadrant = ops.iadd(quadrant, ops.i32(1))
    swap = ops.iequal(ops.iand(quadrant, ops.i32(1)), ops.i32(1))
    flip = ops.ishl(ops.iand(quadrant, ops.i32(2)), 30)
    if not quarters:  # the sine is odd
        flip = ops.ixor(flip, ops.iand(ops.bits(x), ops.i32(SIGN)))
    result = ops.from_bits(ops.ixor(ops.bits(ops.select(swap, cosine_of, sine_of)), flip))
    finite = ops.iless(ops.bits(size), ops.i32(INFINITY_BITS))
    return ops.select(finite, result, ops.from_bits(ops.i32(NAN_BITS)))


def _phase(ops: Ops[F, I, B], factor: I, window: I) -> I:
    """The upper 32 bits of the lower 64 of ``factor`` (below 2**31) times one of ``WINDOWS``."""
    upper, high, low = (ops.i32(signed(word)) for word in _words(0))
    for index in range(1, len(WINDOWS)):
        here = ops.iequal(window, ops.i32(index))
        words = [ops.i32(signed(word)) for word in _words(index)]
        upper, high, low = (ops.iselect(here, new, old) for new, old in zip(words, (upper, high, low), strict=True))
    mask = ops.i32(0xFFFF)
    factor_high, factor_low = ops.isar(factor, 16), ops.iand(factor, mask)
    carried = ops.iadd(ops.imul(factor_high, low), _upper_half(ops, ops.imul(factor_low, low)))
    middle = ops.iadd(ops.imul(factor_low, high), ops.iand(carried, mask))
    total = ops.iadd(ops.imul(factor_high, high), _upper_half(ops, carried))
    return ops.iadd(ops.iadd(total, _upper_half(ops, middle)), ops.imul(factor, upper))


def _words(index: int) -> tuple[int, int, int]:
    """A window as its upper 32 bits and two halves of the others."""
    upper, lower = WINDOWS[index]
    return upper, lower >> 16, lower & 0xFFFF


def signed(word: int) -> int:
    """The number that 32 bits are as two's complement."""
    return word - (1 << 32) if word >> 31 else word


def _upper_half(ops: Ops[F, I, B], a: I) -> I:
    """The upper 16 bits, as a number that is not negative."""
    return ops.iand(ops.isar(a, 16), ops.i32(0xFFFF))
