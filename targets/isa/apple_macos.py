"""macOS on Apple's processors, from M1 on: NEON with the dot product, and the coprocessor AMX where there is one."""

from __future__ import annotations

from dataclasses import replace

from chimerac.targets.isa.aarch64_neon import dotprod_of
from chimerac.targets.isa.apple_arm64 import amx_of, apple

_NEON = apple("macos", "11.0", "apple-m1")
_DOTPROD = replace(dotprod_of(_NEON), name=_NEON.name, needs=())  # every Mac of this kind has it

ISA = replace(_DOTPROD, variants=(amx_of(_DOTPROD),))
