"""iOS and iPadOS 15 and later: NEON for the oldest phones (A9), the dot product from A13 on, AMX from A14 to A17."""

from __future__ import annotations

from dataclasses import replace

from chimerac.targets.isa.aarch64_neon import dotprod_of
from chimerac.targets.isa.apple_arm64 import amx_of, apple

_NEON = apple("ios", "15.0", "apple-a9")

ISA = replace(_NEON, variants=(dotprod_of(_NEON), amx_of(_NEON)))
