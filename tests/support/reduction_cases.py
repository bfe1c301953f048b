"""Reductions and products of matrices at edge sizes, for the tests of kernels and of ONNX forms."""

from __future__ import annotations

import numpy as np
from kernel_harness import Case, case
from movement_cases import integers, normal

WIDTHS = (1, 7, 8, 9, 33)
REDUCTIONS = ("reduce_sum", "reduce_max", "reduce_min", "argmax", "argmin", "cumsum")
OF_FLOATS = ("softmax", "log_softmax")


def special(width: int) -> np.ndarray:
    """Rows with zeros of both signs, infinities, large and small numbers, ties."""
    x = normal(5, width)
    x[1, : width // 2] = -0.0
    x[2] = np.float32(1.5)
    x[3, width // 2] = -np.inf
    x[4] = np.float32(-3e38)
    return x


def reductions() -> list[Case]:
    cases = [case(name, [special(width)], tokens=[0]) for name in REDUCTIONS for width in WIDTHS]
    cases += [case(name, [integers(3, width)], tokens=[]) for name in REDUCTIONS for width in (1, 13)]
    cases += [case(name, [special(width)], tokens=[0]) for name in OF_FLOATS for width in (1, 9, 32)]
    cases += [case(name, [normal(2, 5, 9)], tokens={0: 1}) for name in (*REDUCTIONS, *OF_FLOATS)]
    cases += [case("reduce_prod", [normal(5, width)], tokens=[0]) for width in (1, 2, 9)]
    cases += [case("reduce_prod", [integers(3, 5)], tokens=[]), case("reduce_sum", [normal(9)], tokens=[])]
    return cases


def norms() -> list[Case]:
    cases = [case("layer_norm", [normal(5, width)], {"eps": 1e-5}, tokens=[0]) for width in WIDTHS]
    cases.append(case("layer_norm", [normal(2, 5, 20), normal(20)], {"eps": 1e-6}, tokens={0: 1}))
    cases.append(case("layer_norm", [normal(5, 33), normal(33), normal(33)], {"eps": 1e-6}, tokens=[0]))
    return cases


def orders() -> list[Case]:
    return [
        case("sort", [array], {"descending": descending}, tokens=[0])
        for descending in (0, 1)
        for array in (*(special(width) for width in (1, 9)), np.round(normal(5, 40)), integers(4, 17))
    ]


def products() -> list[Case]:
    return [
        case("matmul", [normal(5, 9), normal(7, 9)], tokens=[0]),
        case("matmul", [normal(7, 9), normal(5, 9)], tokens=[1]),
        case("matmul", [normal(3, 5, 16), normal(3, 4, 16)], tokens={0: 1}),
        case("matmul", [normal(3, 4, 8), normal(3, 5, 8)], tokens={1: 1}),
        case("matmul", [normal(5, 2, 3), normal(5, 6, 3)], tokens=[0, 1]),
        case("matmul", [normal(2, 1, 6, 10), normal(3, 5, 10)], tokens=[]),
        case("matmul", [normal(6, 33), normal(4, 1, 9, 33)], tokens=[]),
        case("matmul", [normal(1, 1), normal(1, 1)], tokens=[]),
        case("matmul", [normal(2, 3, 40), normal(1, 8, 40)], tokens=[]),
    ]


def patches() -> list[Case]:
    return [
        case("unfold", [normal(5, 3, 8)], {"kernel": "3", "stride": "1", "dilation": "1"}, tokens=[0]),
        case("unfold", [normal(2, 3, 7, 6)], {"kernel": "3,2", "stride": "2,1", "dilation": "1,2"}, tokens=[]),
        case("unfold", [normal(3, 5, 5)], {"kernel": "2,2", "stride": "2,2", "dilation": "1,1"}, tokens=[]),
        case("unfold", [integers(1, 1, 9)], {"kernel": "9", "stride": "4", "dilation": "1"}, tokens=[]),
    ]


def with_nan(name: str) -> Case:
    """Rows with some NaN, and one of nothing else."""
    x = normal(3, 19)
    x[0, ::3] = np.nan
    x[1] = np.nan
    return case(name, [x], {"descending": 1} if name == "sort" else {}, tokens=[0])
