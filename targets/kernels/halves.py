"""Reading fp16 scales, exactly: by the instruction for it, else with integer and float32 operations."""

from __future__ import annotations

from tvm import tirx

from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.tensorir import Expr, KernelBuilder, reinterpret, with_lanes

TWO_TO_112 = 2.0**112  #: from the exponent bias of fp16 to that of float32


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
