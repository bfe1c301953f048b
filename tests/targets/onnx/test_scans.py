"""Scans in ONNX Runtime give the interpreter's bits."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx_tools import assert_agrees
from scan_modules import NESTED, TEXT, scan_module


@pytest.mark.parametrize("text", [TEXT, NESTED], ids=["all", "nested"])
@pytest.mark.parametrize("reverse", [False, True])
def test_scans(text: str, reverse: bool, tmp_path: Path) -> None:
    assert_agrees(scan_module(text, reverse=reverse), tmp_path, [[1, 2, 3], [4], [0, 1, 2, 3], [1]])
