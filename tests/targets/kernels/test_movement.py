"""Kernels that move elements against the numpy references."""

from __future__ import annotations

from pathlib import Path

from kernel_harness import check, native_isas
from movement_cases import movement


def test_tokens_on_any_axis(tmp_path: Path) -> None:
    check(movement(), native_isas(), tmp_path)
