"""Kernels over tables of codes of 3 bytes against the numpy references."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from kernel_harness import IN_TURN, case, check_in_turn, native_isas

from chimerac.compiler.ir.module import Attribute

RANDOM = np.random.default_rng(78)


@IN_TURN
def test_products_and_look_ups(every: int, tmp_path: Path) -> None:
    cases = []
    for n, rows, width, levels, limit in (
        (1, 1, 1, 2, 1.0),
        (1, 37, 100, 10**7, 1.0),
        (3, 9, 13, 1 << 24, 0.3),
        (16, 6, 40, 300, 2.0),
    ):
        codes = RANDOM.integers(0, levels, (rows, width), dtype=np.int32)
        codes.flat[0], codes.flat[-1] = 0, levels - 1
        packed = np.stack([(codes >> shift & 255).astype(np.uint8) for shift in (0, 8, 16)], 1)
        rule: dict[str, Attribute] = {"levels": levels, "limit": limit}
        x = RANDOM.standard_normal((n, width)).astype(np.float32)
        cases.append(case("levels_matmul", [x, packed], rule, tokens=[0]))
        ids = RANDOM.integers(0, rows, n).astype(np.int32)
        cases.append(case("levels_look_up", [ids, packed], rule, tokens=[0]))
    check_in_turn(cases, native_isas(), tmp_path, every)
