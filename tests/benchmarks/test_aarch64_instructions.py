"""How many instructions AArch64 kernels of ternary products execute: counted, so the same on every machine."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest
from project import ROOT

SCRIPT = ROOT / "benchmarks" / "aarch64_instructions.py"


@pytest.fixture(scope="module")
def instructions() -> ModuleType:
    """The script that counts."""
    specification = importlib.util.spec_from_file_location("aarch64_instructions", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # for its dataclasses
    specification.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tokens", "most", "product", "lanes"),
    [
        # of public kernels for one token: 17.1 to 20.4 without dot products, 15.0 to 17.2 with them (docs/targets.md)
        ("aarch64-neon", 1, 18.5, ("smull", "smull2", "smlal", "smlal2"), 8),
        ("aarch64-neon", 4, 18.0, ("smull", "smull2", "smlal", "smlal2"), 8),
        ("aarch64-neon+dotprod", 1, 13.0, ("sdot",), 16),
        ("aarch64-neon+dotprod", 4, 10.0, ("sdot",), 16),
    ],
)
def test_instructions_for_64_weights(
    instructions: ModuleType, name: str, tokens: int, most: float, product: tuple[str, ...], lanes: int
) -> None:
    found = instructions.count(name, instructions.Sizes(columns=1024), tokens, mnemonics=True)
    assert sum(found.executed[m] for m in product) * lanes == found.weights * tokens, "something was not counted"
    assert found.per_64 <= most


def test_variants_compute_the_same(instructions: ModuleType) -> None:
    sizes = instructions.Sizes(columns=512)
    plain, dotprod = (instructions.count(name, sizes, 1) for name in instructions.VARIANTS)
    assert plain.result.any()
    assert plain.result.view(np.uint32).tolist() == dotprod.result.view(np.uint32).tolist()
    assert plain.per_64 > dotprod.per_64
