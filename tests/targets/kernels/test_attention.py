"""Kernels of rope and window_attention against the numpy references, around the wrap of the ring among others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kernel_harness import IN_TURN, Case, case, check, check_in_turn, native_isas

RANDOM = np.random.default_rng(29)
BLOCK = 16  #: rows of the ring beyond the window
ROWS = (0, 1, 2, 5)  #: operands with a token dimension


def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (RANDOM.standard_normal(shape) * scale).astype(np.float32)


def attention(
    heads: int, width: int, n: int, persistent: int, window: int, position: int, write: int, scale: float = 2.0
) -> Case:
    ring = window + BLOCK
    operands = [
        *(normal(n, heads, width, scale=scale) for _ in range(3)),
        *(normal(persistent, heads, width) for _ in range(2)),
        normal(n, heads, width),
        *(normal(ring, heads, width) for _ in range(2)),
        np.array(position, np.int32),
        np.array(write, np.int32),
    ]
    return case("window_attention", operands, {"window": window, "scale": width**-0.5}, tokens=ROWS)


@IN_TURN
def test_rope(every: int, tmp_path: Path) -> None:
    cases = []
    for heads, width, n in ((1, 4, 1), (2, 8, 5), (3, 16, 2), (1, 20, 16), (3, 32, 1), (2, 64, 2), (1, 2, 3)):
        for position in (0, 7, 2**31 - 17):
            operands = [normal(n, heads, width), np.array(position, np.int32)]
            cases.append(case("rope", operands, {"theta": 10000.0}, tokens=[0]))
    cases.append(case("rope", [normal(2, 2, 8), np.array(12345, np.int32)], {"theta": 500.0}, tokens=[0]))
    check_in_turn(cases, native_isas(), tmp_path, every)


@pytest.mark.parametrize("write", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_window_attention(write: int, tmp_path: Path) -> None:
    cases = [
        attention(1, 4, 1, 3, 8, 0, write),
        attention(2, 8, 5, 4, 8, 3, write),
        attention(3, 16, 2, 1, 20, 19, write),
        attention(1, 20, 16, 9, 5, 48, write),
        attention(3, 32, 1, 0, 7, 100, write),
        attention(2, 64, 2, 16, 33, 2**30, write),
        attention(8, 8, 3, 2, 40, 54, write),
    ]
    check(cases, native_isas(), tmp_path)


def test_ring_wraps(tmp_path: Path) -> None:
    """Every alignment of the window to the end of a ring of 28 rows, and a window that fills up."""
    cases = [attention(2, 8, n, 3, 12, position, 1) for position in range(0, 58, 3) for n in (1, 2, 5, 16)]
    check(cases, native_isas(), tmp_path)


@IN_TURN
def test_special_values(every: int, tmp_path: Path) -> None:
    """Scores that overflow, underflow, are equal, infinite or not a number."""
    cases = [attention(2, 8, 2, 3, 12, 17, 1, scale=scale) for scale in (0.0, 1e-30, 30.0, 1e10, 1e25)]
    for value in (np.nan, np.inf, -np.inf, -0.0):
        made = attention(2, 8, 2, 3, 12, 17, 1)
        made.arrays[0][0, 1, 3] = value
        made.arrays[7][5] = value
        cases.append(made)
    check_in_turn(cases, native_isas(), tmp_path, every)
