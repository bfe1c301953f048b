"""Kernels of norms, quantisation, linear and data movement against the numpy references."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from kernel_harness import IN_TURN, Case, case, check, check_in_turn, native_isas

RANDOM = np.random.default_rng(7)
WIDTHS = (1, 7, 8, 9, 63, 64, 65, 127, 128, 129, 200, 320)
TOKENS = (1, 2, 5, 16)


def normal(*shape: int) -> np.ndarray:
    return (RANDOM.standard_normal(shape) * 3).astype(np.float32)


def rows() -> list[np.ndarray]:
    """A matrix for each width; the first row of some is special: zeros, tiny, NaN, infinities."""
    matrices = [normal(TOKENS[i % 4], width) for i, width in enumerate(WIDTHS)]
    matrices[2][0] = 0
    matrices[4][0] = 1e-30
    matrices[5][0, 3] = np.nan
    matrices[6][0, 64] = np.inf
    matrices[7][0, 5] = -np.inf
    matrices[8][0] = np.nan
    matrices[9][0, :2] = 3e38
    return matrices


@IN_TURN
def test_rms_norm_and_l2_norm(every: int, tmp_path: Path) -> None:
    cases: list[Case] = []
    for x in rows():
        cases.append(case("rms_norm", [x, normal(x.shape[1])], {"eps": 1e-6}, tokens=[0]))
        cases.append(case("l2_norm", [x], {"eps": 1e-6}, tokens=[0]))
    cases.append(case("l2_norm", [normal(3, 4, 12)], {"eps": 1e-5}, tokens=[0]))
    cases.append(case("rms_norm", [normal(2, 3, 20), normal(20)], {"eps": 1e-5}, tokens=[]))
    check_in_turn(cases, native_isas(), tmp_path, every)


@IN_TURN
def test_quantize(every: int, tmp_path: Path) -> None:
    cases: list[Case] = []
    for x in rows():
        cases.append(case("quantize", [x], {"block": 64}, tokens=[0]))
        cases.append(case("rms_norm_quantize", [x, normal(x.shape[1])], {"eps": 1e-6, "block": 64}, tokens=[0]))
        one = {"block": 64 if x.shape[1] % 2 else 320, "row": 1}
        cases.append(case("quantize", [x], one, tokens=[0]))
        cases.append(case("rms_norm_quantize", [x, normal(x.shape[1])], {"eps": 1e-6, **one}, tokens=[0]))
    cases.append(case("quantize", [normal(3, 2, 100)], {"block": 32}, tokens=[0]))
    ties = (np.arange(-127, 127, dtype=np.float32) + 0.5)[None]
    ties[0, ::64] = 127
    cases.append(case("quantize", [ties], {"block": 64}, tokens=[0]))
    check_in_turn(cases, native_isas(), tmp_path, every)


@IN_TURN
def test_linear(every: int, tmp_path: Path) -> None:
    cases: list[Case] = []
    for i, width in enumerate(WIDTHS):
        n, height = TOKENS[i % 4], (1, 3, 7, 8, 9, 31, 33)[i % 7]
        operands = [normal(n, width), normal(height, width)]
        cases.append(case("linear", operands, tokens=[0]))
        cases.append(case("linear", [*operands, normal(height)], tokens=[0]))
    check_in_turn(cases, native_isas(), tmp_path, every)


def test_movement(tmp_path: Path) -> None:
    ids = np.array([3, 0, 6, 6, 1], np.int32)
    check(
        [
            case("slice", [normal(5, 37)], {"start": 3, "stop": 30}, tokens=[0]),
            case("slice", [normal(2, 3, 8)], {"start": 0, "stop": 1}, tokens=[0]),
            case("slice", [RANDOM.integers(-9, 9, (5, 40)).astype(np.int8)], {"start": 8, "stop": 40}, tokens=[0]),
            case("concat", [normal(5, 7), normal(5, 8), normal(5, 1)], tokens=[0, 1, 2]),
            case("concat", [ids[None], ids[None]], tokens=[]),
            case("embedding", [ids, normal(7, 21)], tokens=[0]),
            case("embedding", [ids[:1], normal(7, 16)], tokens=[0]),
        ],
        native_isas(),
        tmp_path,
    )
