"""Ops that move elements at edge sizes, with the tokens on any axis, for the tests of kernels and of ONNX forms."""

from __future__ import annotations

import numpy as np
from kernel_harness import Case, case

RANDOM = np.random.default_rng(21)


def normal(*shape: int) -> np.ndarray:
    return np.asarray(RANDOM.standard_normal(shape), np.float32)


def integers(*shape: int, low: int = -9, high: int = 9) -> np.ndarray:
    return np.asarray(RANDOM.integers(low, high, shape), np.int32)


def slices() -> list[Case]:
    return [
        case("slice", [normal(5, 4, 9)], {"start": 1, "stop": 3, "axis": 1}, tokens=[0]),
        case("slice", [normal(4, 5, 9)], {"start": 3, "stop": 4, "axis": 0}, tokens={0: 1}),
        case("slice", [normal(4, 9, 5)], {"start": 0, "stop": 9, "axis": 1, "step": 4}, tokens={0: 2}),
        case("slice", [normal(3, 17)], {"start": 16, "stop": -1, "axis": 1, "step": -1}, tokens=[0]),
        case("slice", [integers(7, 3)], {"start": 5, "stop": 0, "axis": 0, "step": -2}, tokens=[]),
        case("slice", [normal(8)], {"start": 1, "stop": 8, "step": 3}, tokens=[]),
    ]


def joins() -> list[Case]:
    return [
        case("concat", [normal(5, 2, 9), normal(5, 1, 9)], {"axis": 1}, tokens=[0, 1]),
        case("concat", [normal(2, 5, 3), normal(4, 5, 3), normal(1, 5, 3)], {"axis": 0}, tokens={0: 1, 1: 1, 2: 1}),
        case("concat", [integers(3, 2), integers(3, 2)], {"axis": 0}, tokens=[]),
        case("pad", [normal(5, 3, 8)], {"axis": 1, "before": 2, "after": 1, "value": -1.5}, tokens=[0]),
        case("pad", [normal(3, 5, 2)], {"axis": 0, "before": 0, "after": 3, "value": 0.0}, tokens={0: 1}),
        case("pad", [integers(2, 9)], {"axis": 1, "before": 7, "after": 0, "value": 3.0}, tokens=[]),
        case("pad", [normal(4, 3)], {"axis": 1, "before": 0, "after": 1, "value": float("-inf")}, tokens=[0]),
    ]


def transposes() -> list[Case]:
    return [
        case("transpose", [normal(5, 3, 4)], {"perm": "1,0,2"}, tokens=[0]),
        case("transpose", [normal(5, 3, 4)], {"perm": "2,1,0"}, tokens=[0]),
        case("transpose", [normal(3, 5, 9)], {"perm": "1,0,2"}, tokens={0: 1}),
        case("transpose", [normal(3, 5, 9)], {"perm": "0,2,1"}, tokens={0: 1}),
        case("transpose", [normal(1, 2, 5, 8)], {"perm": "0,2,1,3"}, tokens={0: 2}),
        case("transpose", [integers(17, 9)], {"perm": "1,0"}, tokens=[]),
        case("transpose", [normal(2, 3, 2, 4)], {"perm": "3,0,1,2"}, tokens=[]),
        case("transpose", [normal(6)], {"perm": "0"}, tokens=[0]),
    ]


def broadcasts() -> list[Case]:
    return [
        case("broadcast", [normal(5, 1, 9)], {"shape": "T,4,9"}, tokens=[0]),
        case("broadcast", [normal(5, 1)], {"shape": "T,11"}, tokens=[0]),
        case("broadcast", [normal(9)], {"shape": "3,9"}, tokens=[]),
        case("broadcast", [normal(4, 1, 3), normal(5, 2)], {"shape": "4,T,3"}, tokens=[1]),
        case("broadcast", [np.array(7, np.int32)], {"shape": "1"}, tokens=[]),
        case("broadcast", [np.array(7, np.int32), normal(2, 3)], {"shape": "T,17"}, tokens={1: 1}),
        case("broadcast", [normal(1, 1)], {"shape": "2,1,9"}, tokens=[]),
        case("iota", [normal(3, 5)], tokens={0: 1}),
        case("token_count", [normal(4)], tokens=[0]),
    ]


def gathers() -> list[Case]:
    ids = np.array([3, 0, -1, 99, 2], np.int32)
    return [
        case("gather", [normal(7, 9), ids], {"axis": 0}, tokens=[1]),
        case("gather", [normal(5, 4, 3), ids[:3]], {"axis": 1}, tokens=[0]),
        case("gather", [normal(4, 6), ids.reshape(1, 5)], {"axis": 1}, tokens={1: 1}),
        case("gather", [integers(5, 4), np.array(2, np.int32)], {"axis": 0}, tokens=[]),
        case("take_along", [normal(5, 4, 3), integers(5, 2, 3)], {"axis": 1}, tokens=[0, 1]),
        case("take_along", [normal(5, 12), integers(5, 1, high=14)], {"axis": 1}, tokens=[0, 1]),
        case("take_along", [integers(4, 3), integers(9, 3)], {"axis": 0}, tokens=[]),
    ]


def movement() -> list[Case]:
    """All of them."""
    return [*slices(), *joins(), *transposes(), *broadcasts(), *gathers()]
