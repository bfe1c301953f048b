"""x86-64 with the AVX-512 of Intel Ice Lake and AMD Zen 4: byte products (VNNI), and tables of bytes (VBMI).

With tables, base 3 is read nearly as fast as two bits a weight: a fifth less of memory is read, which pays where a core
gets less than about 33 GB/s of it. Integer products use AVX-512, and attention, which takes more rows at a time;
everything else is compiled as for AVX2, so that its bits are the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from chimerac.compiler.ir import base3
from chimerac.targets.isa.definition import Isa, Primitive, llvm_call, table
from chimerac.targets.isa.x86_64_avx2 import IN_PLACE, PLAIN, vnni

LOOK_UP_128 = Primitive(
    "look_up_128",
    "llvm.x86.avx512.vpermi2var.qi.512",
    ("int8x64", "int8x64", "int8x64"),
    "int8x64",
    lambda low, index, high: np.concatenate([low, high])[index.view(np.uint8) & 127],
    llvm_call("llvm.x86.avx512.vpermi2var.qi.512", "int8x64"),
)


def _tables() -> tuple[np.ndarray, np.ndarray]:
    """For every byte: its digits 0 to 3 in bit planes, and digit 4."""
    digits = base3.digits(np.arange(256, dtype=np.uint8))
    planes = digits[0] | digits[1] << 2 | digits[2] << 4 | digits[3] << 6
    return planes, digits[4]


def _look_up(entries: np.ndarray, index: Any) -> Any:
    """The entry of 256 for each byte: a register pair for each half of the entries, chosen by the top bit."""
    from tvm import tirx

    def register(first: int) -> Any:
        values = entries[first : first + 64].view(np.int8)
        scalars = [tirx.IntImm("int8", int(value)) for value in values]
        return tirx.Shuffle(scalars, [tirx.IntImm("int32", i) for i in range(64)])

    low, high = (LOOK_UP_128.build(register(i), index, register(i + 64)) for i in (0, 128))
    return tirx.Select(tirx.LT(index, tirx.Broadcast(tirx.IntImm("int8", 0), 64)), high, low)


def _base3_codes(packed: Any) -> list[tuple[Any, int]]:
    from tvm.script import tirx as T

    index = T.reinterpret("int8x64", packed)
    planes, last = (T.reinterpret("uint16x32", _look_up(entries, index)) for entries in _tables())
    return [*((planes, plane) for plane in range(4)), (last, 0)]


AVX512 = vnni(PLAIN, "avx512", ("avx512f", "avx512bw", "avx512vl", "avx512vnni", "avx512vbmi"), IN_PLACE, 2)

ISA: Isa = replace(
    AVX512,
    name="x86_64-avx512",
    needs=(),
    base=PLAIN,
    base3_codes=_base3_codes,
    # one thread on AMD Zen 5; t5 as in whole models, where caches hold other code, too
    form_costs={"t2": 4.2, "t5": 7.6},
    # another end of a row is as much code again, which streaming weights drive out of caches
    form_multiples={"t5": 640},
    # two threads there: 76 GB/s together
    memory_cost=26.0,
    primitives=table(*AVX512.primitives.values(), LOOK_UP_128),
)
