"""The generated model.c of small modules, as tests/golden/model_c has it: what a change does to code is a diff."""

from __future__ import annotations

import re
from collections.abc import Callable

import golden_modules
import pytest
from driver_harness import IDENTITY

from chimerac.compiler.ir.module import Module
from chimerac.targets.code.driver import write_driver
from chimerac.targets.code.memory_planning import plan_memory

MODULES: dict[str, Callable[[], Module]] = {
    "looped": golden_modules.lowered,
    "unrolled": lambda: golden_modules.lowered(loops=2),
    "without_states": lambda: golden_modules.lowered(states=False),
}


@pytest.mark.parametrize("name", MODULES)
def test_the_driver_is_the_golden_text(name: str, golden: Callable[[str, str], None]) -> None:
    module = MODULES[name]()
    text = write_driver(module, plan_memory(module), IDENTITY)
    golden(f"model_c/{name}.c.txt", re.sub(r"(golden_modules\.py):\d+", r"\1", text))  # lines may move
