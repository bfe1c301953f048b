"""Comparisons, truth values, integer arithmetic and rounding, written as ``numerics.py`` writes its functions.

Truth values are int32 of 0 and 1; as operands every number but 0 is true. Integers wrap. All functions are total.
"""

from __future__ import annotations

from chimerac.compiler.ir.numerics import (
    INFINITY_BITS,
    MAGNITUDE,
    B,
    F,
    I,
    Ops,
    absolute,
    maximum,
    minimum,
    with_sign_of,
)

#: The float32 next below 2**31.
LARGEST_INT = 2147483520.0


def truth(ops: Ops[F, I, B], condition: B) -> I:
    """1 where a condition holds, else 0."""
    return ops.iselect(condition, ops.i32(1), ops.i32(0))


def less(ops: Ops[F, I, B], a: F, b: F) -> I:
    """a < b; false with a NaN."""
    return truth(ops, ops.less(a, b))


def less_equal(ops: Ops[F, I, B], a: F, b: F) -> I:
    """a <= b; false with a NaN."""
    return ops.iselect(ops.less(a, b), ops.i32(1), truth(ops, ops.equal(a, b)))


def equal(ops: Ops[F, I, B], a: F, b: F) -> I:
    """a == b; false with a NaN, true for zeros of either sign."""
    return truth(ops, ops.equal(a, b))


def not_equal(ops: Ops[F, I, B], a: F, b: F) -> I:
    """a != b; true with a NaN."""
    return ops.iselect(ops.equal(a, b), ops.i32(0), ops.i32(1))


def where(ops: Ops[F, I, B], condition: I, a: F, b: F) -> F:
    """b where the condition is 0, else a."""
    return ops.select(ops.iequal(condition, ops.i32(0)), b, a)


def int_less(ops: Ops[F, I, B], a: I, b: I) -> I:
    """a < b."""
    return truth(ops, ops.iless(a, b))


def int_less_equal(ops: Ops[F, I, B], a: I, b: I) -> I:
    """a <= b."""
    return ops.iselect(ops.iless(b, a), ops.i32(0), ops.i32(1))


def int_equal(ops: Ops[F, I, B], a: I, b: I) -> I:
    """a == b."""
    return truth(ops, ops.iequal(a, b))


def int_not_equal(ops: Ops[F, I, B], a: I, b: I) -> I:
    """a != b."""
    return ops.iselect(ops.iequal(a, b), ops.i32(0), ops.i32(1))


def int_where(ops: Ops[F, I, B], condition: I, a: I, b: I) -> I:
    """b where the condition is 0, else a."""
    return ops.iselect(ops.iequal(condition, ops.i32(0)), b, a)


def logical_not(ops: Ops[F, I, B], a: I) -> I:
    """1 where a is 0, else 0."""
    return truth(ops, ops.iequal(a, ops.i32(0)))


def _is_true(ops: Ops[F, I, B], a: I) -> I:
    return ops.iselect(ops.iequal(a, ops.i32(0)), ops.i32(0), ops.i32(1))


def logical_and(ops: Ops[F, I, B], a: I, b: I) -> I:
    """Whether neither is 0."""
    return ops.iand(_is_true(ops, a), _is_true(ops, b))


def logical_or(ops: Ops[F, I, B], a: I, b: I) -> I:
    """Whether one is not 0."""
    return ops.ior(_is_true(ops, a), _is_true(ops, b))


def logical_xor(ops: Ops[F, I, B], a: I, b: I) -> I:
    """Whether exactly one is not 0."""
    return ops.ixor(_is_true(ops, a), _is_true(ops, b))


def int_maximum(ops: Ops[F, I, B], a: I, b: I) -> I:
    """The larger one."""
    return ops.iselect(ops.iless(a, b), b, a)


def int_minimum(ops: Ops[F, I, B], a: I, b: I) -> I:
    """The smaller one."""
    return ops.iselect(ops.iless(b, a), b, a)


def int_negate(ops: Ops[F, I, B], a: I) -> I:
    """-a; the smallest number stays what it is."""
    return ops.isub(ops.i32(0), a)


def int_absolute(ops: Ops[F, I, B], a: I) -> I:
    """|a|; the smallest number stays what it is."""
    return ops.iselect(ops.iless(a, ops.i32(0)), int_negate(ops, a), a)


def int_floor_div(ops: Ops[F, I, B], a: I, b: I) -> I:
    """a / b rounded down; 0 where b is 0; the smallest number divided by -1 is itself."""
    zero, one, minus_one = ops.i32(0), ops.i32(1), ops.i32(-1)
    divisor = ops.iselect(ops.iequal(b, zero), one, ops.iselect(ops.iequal(b, minus_one), one, b))
    quotient = ops.idiv(a, divisor)
    rest = ops.isub(a, ops.imul(quotient, divisor))
    down = ops.iselect(ops.iless(ops.ixor(rest, divisor), zero), minus_one, zero)  # of different signs
    quotient = ops.iadd(quotient, ops.iselect(ops.iequal(rest, zero), zero, down))
    quotient = ops.iselect(ops.iequal(b, minus_one), int_negate(ops, a), quotient)
    return ops.iselect(ops.iequal(b, zero), zero, quotient)


def int_mod(ops: Ops[F, I, B], a: I, b: I) -> I:
    """a - b * floor(a / b), of the sign of b; 0 where b is 0."""
    rest = ops.isub(a, ops.imul(int_floor_div(ops, a, b), b))
    return ops.iselect(ops.iequal(b, ops.i32(0)), ops.i32(0), rest)


def floor(ops: Ops[F, I, B], x: F) -> F:
    """The largest whole number that is not larger; a zero of the sign of x."""
    nearest = ops.round_even(x)
    lower = ops.select(ops.greater(nearest, x), ops.sub(nearest, ops.f32(1.0)), nearest)
    return with_sign_of(ops, absolute(ops, lower), x)


def ceil(ops: Ops[F, I, B], x: F) -> F:
    """The smallest whole number that is not smaller; a zero of the sign of x."""
    nearest = ops.round_even(x)
    upper = ops.select(ops.less(nearest, x), ops.add(nearest, ops.f32(1.0)), nearest)
    return with_sign_of(ops, absolute(ops, upper), x)


def trunc(ops: Ops[F, I, B], x: F) -> F:
    """x without its fraction; a zero of the sign of x."""
    return with_sign_of(ops, floor(ops, absolute(ops, x)), x)


def sign(ops: Ops[F, I, B], x: F) -> F:
    """1, -1, or 0 for zeros and NaN."""
    negative = ops.select(ops.less(x, ops.f32(0.0)), ops.f32(-1.0), ops.f32(0.0))
    return ops.select(ops.greater(x, ops.f32(0.0)), ops.f32(1.0), negative)


def to_int(ops: Ops[F, I, B], x: F) -> I:
    """x without its fraction as an integer; the largest or smallest where it is beyond these, 0 for NaN."""
    bounded = minimum(ops, maximum(ops, x, ops.f32(-2147483648.0)), ops.f32(LARGEST_INT))
    whole = ops.to_int(trunc(ops, bounded))
    whole = ops.iselect(ops.greater(x, ops.f32(LARGEST_INT)), ops.i32(0x7FFFFFFF), whole)
    is_nan = ops.iless(ops.i32(INFINITY_BITS), ops.iand(ops.bits(x), ops.i32(MAGNITUDE)))
    return ops.iselect(is_nan, ops.i32(0), whole)
