"""The committed golden vectors: every kernel of every instruction set and variant reproduces them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from golden_products import FILE, load, make
from kernel_harness import IN_TURN, assert_same_bits, build_library, product_isas

from chimerac.compiler.ir.ops import OPS
from chimerac.targets.isa import load_isa


@IN_TURN
@pytest.mark.parametrize("name", product_isas())
def test_kernels_reproduce_the_golden_vectors(name: str, every: int, tmp_path: Path) -> None:
    cases = load()[product_isas().index(name) % every :: every]
    library = build_library([case.spec for case in cases], load_isa(name), tmp_path)
    for case in cases:
        found = library.run(case.spec, case.operands, case.n)
        for want, got in zip(case.results, found, strict=True):
            assert_same_bits(want, got, f"{name}: {case.name}")
    library.close()


def test_the_references_still_compute_the_golden_vectors() -> None:
    """If this fails, the meaning of an op or a layout has changed, which no bundle survives."""
    assert make() == FILE.read_text(encoding="ascii")


def test_the_vectors_cover_what_is_delicate() -> None:
    cases = load()
    products = {op.name for op in OPS.values() if op.integer_product}
    assert {case.spec.op for case in cases} == {*products, "quantize"}
    results = np.concatenate([case.results[0].reshape(-1).astype(np.float64) for case in cases])
    assert np.isnan(results).any()
    assert np.isinf(results).any()
    magnitude = np.abs(results[np.isfinite(results) & (results != 0)])
    assert magnitude.min() < 1e-30
    assert magnitude.max() > 1e30
    assert any(case.spec.integer("columns") % 64 for case in cases if case.spec.op != "quantize")
