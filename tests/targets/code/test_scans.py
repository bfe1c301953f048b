"""Scans in generated drivers: rows where the sequences are, carried values that survive their overwriting."""

from __future__ import annotations

from pathlib import Path

import pytest
from driver_harness import DriverSession
from memory_check import check_plan
from scan_modules import NESTED, TEXT, scan_module

from chimerac.targets.code.memory_planning import plan_memory

CALLS = [[1, 2, 3], [4], [0, 1, 2, 3], [1]]


@pytest.mark.parametrize("text", [TEXT, NESTED], ids=["all", "nested"])
@pytest.mark.parametrize("reverse", [False, True])
def test_kernels_find_their_operands_and_the_next_call_the_states(text: str, reverse: bool, tmp_path: Path) -> None:
    module = scan_module(text, reverse=reverse)
    check_plan(module, plan_memory(module))
    DriverSession(module, tmp_path).check(CALLS)
