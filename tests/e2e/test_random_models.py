"""Random small models agree bit for bit in the interpreter and on every target, with any choice of optional passes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from random_models import models, same_numbers
from replay import Program, Recorded

from chimerac.compiler.build import pipeline
from chimerac.compiler.ir.layouts import FORMS
from chimerac.compiler.ir.module import Module
from chimerac.compiler.ir.text import print_module
from chimerac.passes.ternary_packing import TernaryPacking
from chimerac.runtime.sessions.runner import find_emulator
from chimerac.targets.code.variants import kernel_sets
from chimerac.targets.isa import load_isa

#: blocks of the random models are 4 tokens; no call crosses one
CALLS = ((1, 2, 3), (0,), (3, 1), (9,), (5,), (4, 4, 7, 0))
LEFT_OUT = [(), *((name,) for name in sorted(pipeline.OPTIONAL)), tuple(sorted(pipeline.OPTIONAL))]
#: target and kernel set → processor of qemu
RUNS = {
    ("x86_64-avx2", 0): "",
    ("wasm32-simd128", 0): "",
    ("aarch64-neon", 0): "cortex-a53",
    ("aarch64-neon", 1): "cortex-a76",
}


def draw_modules(count: int) -> list[tuple[Module, int]]:
    """Modules and numbers of loops; always the same ones."""
    drawn: list[tuple[Module, int]] = []

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(models(), st.integers(1, 3))
    def collect(module: Module, loops: int) -> None:
        drawn.append((module, min(loops, module.loops[1])))

    collect()
    return drawn


def compare(count: int, directory: Path, targets: tuple[str, ...]) -> None:
    """Lower each module with one choice of passes after the other, and run it everywhere."""
    panel_rows = load_isa(targets[0]).panel_rows
    drawn = draw_modules(count)
    recorded = []
    for i, (module, loops) in enumerate(drawn):
        packing = [TernaryPacking(panel_rows, form=FORMS[i % len(FORMS)])]
        lowered, _ = pipeline.run(module, pipeline.passes(packing=packing, without=LEFT_OUT[i % len(LEFT_OUT)]))
        recorded.append(Recorded(lowered, CALLS, loops))
    expected = [r.expected() for r in recorded]
    for target in targets:
        program = Program(target, recorded, directory / target)
        for (name, kernel_set), processor in RUNS.items():
            if name != target:
                continue
            found = program.run(kernel_set, processor)
            for i, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
                for call, (got, want) in enumerate(zip(ours, theirs, strict=True)):
                    assert got.keys() == want.keys()
                    differ = [what for what in want if not same_numbers(got[what], want[what])]
                    text = print_module(recorded[i].module) if differ else ""
                    assert not differ, f"{target}, kernels {kernel_set}: {differ} after call {call} of\n{text}"


def available() -> tuple[str, ...]:
    """Targets that this machine runs."""
    targets = dict.fromkeys(target for target, _ in RUNS)
    return tuple(t for t in targets if not t.startswith("aarch64") or find_emulator("aarch64"))


def test_random_models_agree(tmp_path: Path) -> None:
    """AArch64 has no op of its own, and takes qemu longer: see the test of hundreds."""
    compare(6, tmp_path, ("x86_64-avx2", "wasm32-simd128"))


@pytest.mark.slow
def test_hundreds_of_random_models_agree_on_every_target(tmp_path: Path) -> None:
    compare(420, tmp_path, available())


def test_every_variant_is_run() -> None:
    assert {(t, k) for t, k in RUNS if t == "aarch64-neon"} == {
        ("aarch64-neon", i) for i in range(len(kernel_sets(load_isa("aarch64-neon"))))
    }
