"""fp16 from and to float32, exactly: by the instructions for it, else with integer and float32 operations."""

from __future__ import annotations

from tvm import tirx

from chimerac.compiler.ir import numerics
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.tensorir import Expr, KernelBuilder, reinterpret, with_lanes

TWO_TO_112 = 2.0**112  #: from the exponent bias of fp16 to that of float32
TWO_TO_24 = 2.0**24  #: subnormals of fp16 are multiples of its inverse
LEAST_NORMAL = 2.0**-14


def decode(b: KernelBuilder, bits: Expr, lanes: int) -> Expr:
    """float32 values of fp16 bit patterns (uint16), subnormals and infinities included.

    Sign, exponent and mantissa are moved to where float32 keeps them, which makes a number 2**112 too small; the
    product is exact. Infinity becomes 2**16 that way, the only number that exceeds float32's range when it is
    multiplied once more. There are no scales that are not numbers.
    """
    ops = TirOps(b, lanes)
    if b.isa.converts_halves:
        return b.hold(tirx.Cast(with_lanes("float32", lanes), reinterpret(bits, with_lanes("float16", lanes))))
    wide = b.hold(tirx.Cast(with_lanes("int32", lanes), reinterpret(bits, with_lanes("int16", lanes))))
    moved = ops.from_bits(ops.iand(ops.ishl(wide, 13), ops.i32(-0x70002000)))  # without the copies of the sign
    larger = ops.mul(ops.mul(moved, ops.f32(TWO_TO_112)), ops.f32(TWO_TO_112))
    return ops.mul(larger, ops.f32(1 / TWO_TO_112))


def encode(b: KernelBuilder, values: Expr, lanes: int) -> Expr:
    """fp16 bit patterns (uint16) of float32 values within fp16's range, rounded to nearest even.

    A normal number is rounded by adding half of what is cut off, less the smallest bit where what stays is even; the
    multiple of 2**-24 that is nearest to a subnormal one is its bit pattern.
    """
    ops, narrow = TirOps(b, lanes), with_lanes("uint16", lanes)
    if b.isa.converts_halves:
        return b.hold(reinterpret(b.hold(tirx.Cast(with_lanes("float16", lanes), values)), narrow))
    magnitude = numerics.absolute(ops, values)
    bits = ops.bits(magnitude)
    half = ops.iadd(ops.iand(ops.isar(bits, 13), ops.i32(1)), ops.i32(0xFFF))
    normal = ops.isub(ops.isar(ops.iadd(bits, half), 13), ops.i32(112 << 10))
    small = numerics.minimum(ops, magnitude, ops.f32(LEAST_NORMAL))
    subnormal = ops.to_int(ops.round_even(ops.mul(small, ops.f32(TWO_TO_24))))
    found = ops.iselect(ops.less(magnitude, ops.f32(LEAST_NORMAL)), subnormal, normal)
    sign = ops.iand(ops.isar(ops.bits(values), 16), ops.i32(0x8000))
    return b.hold(tirx.Cast(narrow, ops.ior(found, sign)))
