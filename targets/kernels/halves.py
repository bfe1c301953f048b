"""Reading fp16 scales, exactly: by the instruction for it, else with integer and float32 operations."""

from __future__ import annotations

from tvm import tirx

from chimerac.targets.tensorir import Expr, KernelBuilder, TirOps, reinterpret, with_lanes

TWO_TO_112 = 2.0**112  #: from the exponent bias of fp16 to that of float32


def decode(b: KernelBuilder, bits: Expr, lanes: int) -> Expr:
    """float32 values of fp16 bit patterns (uint16), subnormals, infinities and NaNs included.

    The magnitude is moved to where float32 keeps exponent and mantissa, which makes a number 2**112 too small;
    the product is exact.
    """
    ops = TirOps(b, lanes)
    if b.isa.converts_halves:
        return b.hold(tirx.Cast(with_lanes("float32", lanes), reinterpret(bits, with_lanes("float16", lanes))))
    wide = b.hold(tirx.Cast(with_lanes("int32", lanes), bits))
    magnitude = ops.ishl(ops.iand(wide, ops.i32(0x7FFF)), 13)
    finite = ops.bits(ops.mul(ops.from_bits(magnitude), ops.f32(TWO_TO_112)))
    special = ops.ior(finite, ops.i32(0x7F800000))
    value = ops.iselect(ops.iless(ops.i32(0x0F7FFFFF), magnitude), special, finite)
    return ops.from_bits(ops.ior(value, ops.ishl(ops.iand(wide, ops.i32(0x8000)), 16)))
