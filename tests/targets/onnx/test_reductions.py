"""ONNX forms of reductions and of products of matrices against their references."""

from __future__ import annotations

from onnx_ops import LEVELS, check_onnx
from reduction_cases import norms, orders, patches, products, reductions


def test_reductions() -> None:
    check_onnx([*reductions(), *norms(), *orders()], LEVELS[:1])


def test_products_and_patches() -> None:
    check_onnx([*products(), *patches()], LEVELS[:1])
