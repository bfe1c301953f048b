"""Attention with a cache in ONNX Runtime against the reference: the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import case
from onnx_ops import LEVELS, check_onnx

RANDOM = np.random.default_rng(37)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(("window", "rows", "position"), [(0, 140, 0), (0, 140, 63), (0, 140, 121), (70, 90, 2**30)])
def test_op(window: int, rows: int, position: int, dtype: type) -> None:
    cases = []
    for heads, kept, width, value_width, n in ((1, 1, 6, 4, 1), (4, 2, 8, 8, 16), (6, 2, 10, 16, 3)):
        shapes = (
            (n, heads, width),
            (n, kept, width),
            (n, kept, value_width),
            (kept, rows, width),
            (kept, rows, value_width),
        )
        arrays = [(2.0 * RANDOM.standard_normal(shape)).astype(np.float32) for shape in shapes]
        arrays[1][0, 0, 0] = 1e6
        operands = [*arrays[:3], *(a.astype(dtype) for a in arrays[3:]), np.array(position, np.int32)]
        cases.append(case("cached_attention", operands, {"window": window, "scale": 0.4}, tokens=(0, 1, 2)))
    check_onnx(cases, LEVELS[:1] if position else LEVELS)
