"""The kernel of knot_relax against its reference: sizes, rounds, ties, and numbers that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from kernel_harness import IN_TURN, case, check_in_turn, native_isas

RANDOM = np.random.default_rng(23)


@IN_TURN
def test_knot_relax(every: int, tmp_path: Path) -> None:
    cases = []
    for width, bits, rows, flips, rounds, hit in (
        (16, 64, 1, 5, 3, 0.5),
        (20, 64, 5, 64, 2, 0.5),
        (100, 256, 3, 1, 1, 1e-3),
        (128, 1024, 2, 20, 3, 1.0),
        (300, 1024, 2, 20, 3, 0.0),
        (40, 128, 2, 9, 0, 0.5),
    ):
        u = (RANDOM.standard_normal((rows, width)) * 3).astype(np.float32)
        if rows > 2:
            u[0], u[1, :3] = 0.0, [np.inf, -0.0, 1e-40]  # all fields of the first row are equal
            u[2, 0] = np.nan if rows > 3 else 1.0
        signs = np.where(RANDOM.integers(0, 2, (2, bits // 2)), 1, -1).astype(np.float32)
        memory = RANDOM.integers(-(2**31), 2**31, (1, bits // 32)).astype(np.int32)
        kappa = RANDOM.standard_normal(width).astype(np.float32)
        rule = {"flips": flips, "rounds": rounds, "weight": 0.9, "early_exit": 1e-4}
        given = [u, kappa, signs, memory, np.full((1, 1), hit, np.float32)]
        cases.append(case("knot_relax", given, rule, tokens=[0]))
    check_in_turn(cases, native_isas(), tmp_path, every)
