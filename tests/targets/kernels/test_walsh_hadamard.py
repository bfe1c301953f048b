"""The kernel of walsh_hadamard against its reference, from the smallest block on, with special numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from kernel_harness import IN_TURN, case, check_in_turn, native_isas

RANDOM = np.random.default_rng(19)


@IN_TURN
def test_walsh_hadamard(every: int, tmp_path: Path) -> None:
    cases = []
    for width, block, n in ((16, 16, 1), (96, 32, 5), (64, 64, 2), (256, 128, 3), (2048, 1024, 1), (512, 512, 16)):
        x = (RANDOM.standard_normal((n, width)) * 3).astype(np.float32)
        x[0, :4] = [np.inf, 0.0, -0.0, 1e-40]
        cases.append(case("walsh_hadamard", [x], {"block": block}, tokens=[0]))
    x = RANDOM.standard_normal((2, 3, 48)).astype(np.float32)
    cases.append(case("walsh_hadamard", [x], {"block": 16}, tokens=[]))
    check_in_turn(cases, native_isas(), tmp_path, every)
