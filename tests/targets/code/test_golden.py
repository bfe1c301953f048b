"""The generated model.c of small modules, as tests/golden/model_c has it: what a change does to code is a diff."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import golden_modules
import pytest
from called_bundles import model_of
from driver_harness import IDENTITY, check_syntax

from chimerac.compiler.build import pipeline
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


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["classifier", "filter", "constant"])
def test_the_driver_of_a_module_of_tensors(kind: str, golden: Callable[[str, str], None], tmp_path: Path) -> None:
    """Results are written where the caller wants them; inputs, states and constants that are returned are copied."""
    model = model_of(kind)
    module, _ = pipeline.run(model.module, golden_modules.passes())
    text = write_driver(module, plan_memory(module), replace(IDENTITY, entries=model.entries))
    check_syntax(text, tmp_path)
    golden(f"model_c/{kind}.c.txt", re.sub(r"(\w\.py):\d+", r"\1", text))
