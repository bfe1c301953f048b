"""Packing of trits: which form a matrix gets, what the report says of it, and bundles of either form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ir_text import ir_text
from ir_tools import module_of
from nano_model import nano_module

from chimerac.compiler.build import pipeline
from chimerac.compiler.build.build import build
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.layouts import form_of
from chimerac.compiler.ir.module import Constant, Module
from chimerac.compiler.ir.types import TensorType
from chimerac.passes import ternary_packing
from chimerac.passes.ternary_costs import TWO_BITS_ONLY, TernaryCosts
from chimerac.passes.ternary_packing import TernaryPacking
from chimerac.runtime import load
from chimerac.targets.isa import ISAS, load_isa
from chimerac.targets.registry import find_target

PRODUCT = """
%x: f32[T,100] = embedding(%tokens, %table)
%y: f32[T,30] = ternary_linear(%x, %weight) {block=64, group=128}
return %y
"""
COSTS = TernaryCosts({"t2": 6.0, "t5": 7.0}, memory=40.0)


def packed(costs: TernaryCosts = TWO_BITS_ONLY, form: str | None = None) -> tuple[Module, tuple[str, ...]]:
    """The nano model after all passes, and the notes of this one."""
    module, records = pipeline.run(nano_module(), pipeline.passes(packing=[TernaryPacking(8, costs, form)]))
    (notes,) = (record.notes for record in records if record.name == "ternary_packing")
    return module, notes


def forms(module: Module) -> set[str]:
    """Forms of the packed trits of a module."""
    layouts = {c.type.layout for c in module.constants.values() if c.type.layout}
    return {form_of(layout) for layout in layouts if not layout.startswith("panel.")}


def test_reading_decides_where_weights_come_from_memory() -> None:
    assert COSTS.cheapest(64, 320, 8, streamed=False) == "t2"
    assert COSTS.cheapest(64, 320, 8, streamed=True) == "t5"
    assert COSTS.of("t2", 64, 320, 8, streamed=True) == pytest.approx(40 * 64 * 320 / 4)
    assert COSTS.of("t5", 64, 320, 8, streamed=True) == pytest.approx(40 * 64 * 320 / 5)
    # 16 columns take a byte per row and channel in either form
    assert COSTS.cheapest(8, 16, 8, streamed=True) == "t5"
    assert COSTS.of("t5", 8, 16, 8, streamed=True) == 40 * 32
    some = replace(COSTS, multiples={"t5": 640})
    assert [some.cheapest(64, columns, 8, streamed=True) for columns in (640, 704, 1280)] == ["t5", "t2", "t5"]
    assert TWO_BITS_ONLY.cheapest(64, 320, 8, streamed=True) == "t2"


def test_a_small_model_stays_in_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    module, notes = packed(COSTS)
    assert forms(module) == {"t2"}
    assert notes[0].startswith("packed ")
    assert "as t2.r8" in notes[0]
    assert notes[1].endswith("at 2 bits stay in a cache; picoseconds a weight: t2 6.0, t5 7.0")
    monkeypatch.setattr(ternary_packing, "CACHE", 0)
    module, notes = packed(COSTS)
    assert forms(module) == {"t5"}
    assert notes[0].startswith("packed 0 matrices as t2.r8")
    assert "as t5.r8" in notes[1]
    assert notes[2].endswith("at 2 bits come from memory; picoseconds a weight: t2 10.0, t5 8.0")


def test_a_form_can_be_asked_for() -> None:
    module, notes = packed(form="t5")
    assert forms(module) == {"t5"}
    assert notes[-1] == "t5 was asked for"


def test_the_form_does_not_change_the_meaning() -> None:
    two, base3 = (Session(packed(form=form)[0]).forward(range(5)) for form in ("t2", "t5"))
    np.testing.assert_array_equal(two, base3)


@pytest.mark.parametrize("cuts", [(30,), (3, 5, 8, 30), (8, 16, 30), (1, 2, 29, 30), (17, 30)])
@pytest.mark.parametrize("form", ["t2", "t5"])
def test_parts_of_a_matrix_are_packed_as_they_come(form: str, cuts: tuple[int, ...]) -> None:
    """Wherever the parts of its rows end."""
    random = np.random.default_rng(4)
    codes = random.integers(-1, 2, (30, 100)).astype(np.int8)
    scales = random.uniform(0.1, 1, (30, 1)).astype(np.float16)
    starts = (0, *cuts)

    def module_with(whole: bool) -> Module:
        def given(array: np.ndarray) -> Constant:
            kind = TensorType.of(array)
            parts = [array[start:end] for start, end in zip(starts, cuts, strict=False)]
            return Constant(kind, array if whole else lambda: iter(parts))

        text = ir_text("table: f32[9,100], weight: f32[30,100]", PRODUCT)
        module = pipeline.run(module_of(text), pipeline.passes())[0]
        held = {"weight.trits": given(codes), "weight.trits_scales": given(scales)}
        return replace(module, constants={**module.constants, **held})

    results = [TernaryPacking(8, form=form).run(module_with(whole)).module for whole in (True, False)]
    for name in (f"weight.trits.{form}.r8", "weight.trits_scales.panel.r8"):
        expected, made = (module.constants[name] for module in results)
        assert made.computed
        assert np.array_equal(made.data, expected.data)


def test_only_what_was_measured_is_chosen_from() -> None:
    chosen = {name: set(load_isa(name).form_costs) for name in ISAS}
    assert chosen.pop("x86_64-avx512") == {"t2", "t5"}
    assert all(costs == {"t2"} for costs in chosen.values())


@pytest.mark.slow
@pytest.mark.parametrize("target", ["x86_64-avx2", "wasm", "x86_64-avx512"])
def test_bundles_in_base_3(target: str, tmp_path: Path) -> None:
    if not set(find_target(target).cpu) <= set(Path("/proc/cpuinfo").read_text().split()):
        pytest.skip(f"this processor does not run {target}")
    report = build("chimera51", targets=[target], out=tmp_path, scale="nano", trits="t5")
    with load(report.bundles[0].path) as session:
        session.self_test()
