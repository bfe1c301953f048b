"""Recurrences as single ops in ONNX Runtime give the references' bits."""

from __future__ import annotations

import numpy as np
from kernel_harness import case
from onnx_ops import check_onnx

RANDOM = np.random.default_rng(7)


def rows(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def test_generalized_delta() -> None:
    cases = []
    for heads, keys, values, n in ((1, 4, 4, 1), (2, 8, 20, 5), (3, 16, 16, 2), (1, 5, 130, 3)):
        removed = rows(n, heads, keys)
        removed /= np.linalg.norm(removed, axis=-1, keepdims=True)
        decay, rate = (RANDOM.random((n, heads, keys)).astype(np.float32) for _ in range(2))
        given = [rows(n, heads, keys), decay, rows(n, heads, keys), rows(n, heads, values), -removed, removed * rate]
        cases.append(case("generalized_delta", [*given, rows(heads, keys, values)], tokens=range(6)))
    check_onnx(cases)
