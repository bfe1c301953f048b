"""ONNX forms of ops that move elements against their references."""

from __future__ import annotations

from movement_cases import movement
from onnx_ops import check_onnx


def test_tokens_on_any_axis() -> None:
    check_onnx(movement())
