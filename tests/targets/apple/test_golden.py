"""The golden vectors of the integer products, on every chip and with every variant of both systems."""

from __future__ import annotations

from pathlib import Path

import pytest
from apple_kernels import build_kernels
from apple_machine import A9, M1, M4, Chip
from golden_products import load
from kernel_harness import assert_same_bits

from chimerac.targets.isa import load_isa

CHIPS: dict[str, Chip] = {"neon": A9, "dotprod": M4, "amx": M1}


@pytest.mark.parametrize("name", [pytest.param("macos-arm64", marks=pytest.mark.slow), "ios-arm64"])
@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 3], ids=["all", "some"])
def test_golden_products(name: str, every: int, tmp_path: Path) -> None:
    cases = load()[::every]
    kernels = build_kernels([one.spec for one in cases], load_isa(name), tmp_path)
    assert {one.name for one in kernels.sets} == ({"dotprod", "amx"} if name == "macos-arm64" else set(CHIPS))
    for kernel_set in kernels.sets:
        there = kernels.on(CHIPS[kernel_set.name])
        outer = 0
        for one in cases:
            found, products = there.run(one.spec, one.operands, one.n, kernel_set.name)
            for expected, result in zip(one.results, found, strict=True):
                assert_same_bits(expected, result, f"{kernel_set.name}: {one.name}")
            outer += products
        assert (outer > 0) == (kernel_set.name == "amx")
