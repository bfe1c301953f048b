"""Products of chosen rows in ONNX Runtime against the reference: the same bits."""

from __future__ import annotations

import numpy as np
from kernel_harness import case
from onnx_ops import LEVELS, check_onnx

RANDOM = np.random.default_rng(43)


def test_op() -> None:
    """Of floats; products of integers are tested with whole models (tests/e2e/test_nonu.py)."""
    x, weight = (RANDOM.standard_normal(shape).astype(np.float32) for shape in ((3, 128), (9, 128)))
    chosen = np.where(RANDOM.random((3, 9)) < 0.5, np.float32(2.0), np.float32(-0.0))
    check_onnx([case("chosen_linear", [chosen, x, weight], tokens=[0, 1])], LEVELS[:1])
