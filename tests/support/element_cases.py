"""Element-wise ops on special values, for the tests of kernels and of ONNX forms."""

from __future__ import annotations

import numpy as np
from kernel_harness import Case, case

from chimerac.compiler.ir.ops.elementwise import ELEMENTWISE

RANDOM = np.random.default_rng(5)
SPECIAL = np.array(
    [
        "0",
        "-0.0",
        "1",
        "-1",
        "inf",
        "-inf",
        "nan",
        "1e-45",
        "-1e-45",
        "1.2e-38",
        "1e38",
        "-1e38",
        "88.7",
        "88.8",
        "-87.3",
        "-87.4",
        "100",
        "-100",
        "0.6",
        "0.63",
        "-0.63",
        "3.9",
        "4.1",
        "19.9",
        "20.1",
        "4194304",
    ],
    np.float32,
)
INTEGERS = np.array([0, 1, -1, 2, -2, 3, -3, 7, -7, 2**31 - 1, -(2**31), 1 - 2**31], np.int32)


def normal(*shape: int) -> np.ndarray:
    return (RANDOM.standard_normal(shape) * 3).astype(np.float32)


def pairs(values: np.ndarray) -> list[np.ndarray]:
    """Two operands, in which every value meets every other."""
    return [np.repeat(values, values.size), np.tile(values, values.size)]


def special_case(name: str) -> Case:
    """An element-wise op on special values and some others."""
    takes = ELEMENTWISE[name].takes
    floats, integers = np.concatenate([SPECIAL, normal(15)]), np.concatenate([INTEGERS, RANDOM.integers(-99, 99, 9)])
    if takes == ("f32",):
        return case(name, [np.concatenate([floats, normal(2000) * 20])], tokens=[])
    if takes == ("i32",):
        return case(name, [np.concatenate([integers, 2**24 + INTEGERS]).astype(np.int32)], tokens=[])
    operands = pairs(floats) if "f32" in takes else pairs(integers.astype(np.int32))
    flags = RANDOM.integers(-1, 2, operands[0].size).astype(np.int32)
    return case(name, [flags, *operands] if len(takes) == 3 else operands, tokens=[])
