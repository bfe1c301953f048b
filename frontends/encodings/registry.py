"""The encodings of GGUF's types by their number, and the types that are named and not read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chimerac.frontends.encodings import base3, blocks_of_32, blocks_of_256, i2_s, one_bit, plain, two_bits
from chimerac.frontends.encodings.encoding import Encoding


@dataclass(frozen=True)
class TypeSize:
    """A type whose numbers are not read: its name, weights of a block, bytes of a block."""

    name: str
    weights: int
    size: int


#: Number → encodings; those of one number differ in size, and the length of a tensor tells which it is.
READ: Mapping[int, tuple[Encoding, ...]] = {
    0: (plain.F32,),
    1: (plain.F16,),
    2: (blocks_of_32.Q4_0,),
    3: (blocks_of_32.Q4_1,),
    6: (blocks_of_32.Q5_0,),
    7: (blocks_of_32.Q5_1,),
    8: (blocks_of_32.Q8_0,),
    10: (blocks_of_256.Q2_K,),
    11: (blocks_of_256.Q3_K,),
    12: (blocks_of_256.Q4_K,),
    13: (blocks_of_256.Q5_K,),
    14: (blocks_of_256.Q6_K,),
    28: (plain.F64,),
    30: (plain.BF16,),
    34: (base3.TQ1_0,),
    35: (two_bits.TQ2_0,),
    36: (i2_s.I2_S,),
    41: (one_bit.Q1_0,),
    42: (two_bits.Q2_0_64, two_bits.Q2_0_128),
    142: (two_bits.PQ2_0,),
    143: (base3.PTQ1_0,),
}
#: Types that llama.cpp has and nothing here reads.
NAMED: Mapping[int, TypeSize] = {
    9: TypeSize("Q8_1", 32, 40),
    15: TypeSize("Q8_K", 256, 292),
    16: TypeSize("IQ2_XXS", 256, 66),
    17: TypeSize("IQ2_XS", 256, 74),
    18: TypeSize("IQ3_XXS", 256, 98),
    19: TypeSize("IQ1_S", 256, 50),
    20: TypeSize("IQ4_NL", 32, 18),
    21: TypeSize("IQ3_S", 256, 110),
    22: TypeSize("IQ2_S", 256, 82),
    23: TypeSize("IQ4_XS", 256, 136),
    24: TypeSize("I8", 1, 1),
    25: TypeSize("I16", 1, 2),
    26: TypeSize("I32", 1, 4),
    27: TypeSize("I64", 1, 8),
    29: TypeSize("IQ1_M", 256, 56),
    39: TypeSize("MXFP4", 32, 17),
    40: TypeSize("NVFP4", 64, 36),
}
