"""Random PyTorch modules: the interpreter is near PyTorch, and every target has its bits, whatever pass is left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_modules import BLOCK, CONTEXT, MODULES, ONE, TWO, Drawn, Step
from hypothesis import HealthCheck, Phase, given, note, settings
from onnx_tools import assert_agrees
from replay import Program, Recorded

from chimerac.compiler.build import pipeline
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module
from chimerac.frontends.export.importer import import_module

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

CALLS = ((3, 19, 4), (23,), (0, 7), (7,), (11,))
#: Optional passes that are left out, one after the other, and all of them.
LEFT_OUT = [*((name,) for name in sorted(pipeline.OPTIONAL)), tuple(sorted(pipeline.OPTIONAL))]
FEW, MANY = 12, 500
#: Modules that one program has.
TOGETHER = 50


@pytest.fixture(autouse=True)
def _short_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows are looked for in texts of thousands of tokens, which takes a second; here they are of a dozen."""
    monkeypatch.setattr("chimerac.frontends.export.attention.LONGEST", 40)


def each(count: int, check: Callable[[Drawn], None], *, shrink: bool = True) -> None:
    """Try so many modules, always the same ones."""
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    everything = list(HealthCheck)

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        phases=phases,
        suppress_health_check=everything,
    )
    @given(MODULES)
    def run(module: Drawn) -> None:
        note(f"steps: {module.steps}")
        check(module)

    run()


def imported(module: Drawn) -> Module:
    return import_module(module, name="drawn", block=BLOCK, context=CONTEXT if module.looks_back else None)


def lowered(module: Module, without: tuple[str, ...] = ()) -> Module:
    return pipeline.run(module, pipeline.passes(without=without))[0]


def bits(module: Module) -> list[bytes]:
    """Logits and states after each call."""
    session = Session(module)
    return [session.forward(call).tobytes() + session.state_bytes() for call in CALLS]


def near_pytorch(module: Drawn) -> None:
    """Logits after each call are near PyTorch's, and have the same bits whatever is left out."""
    made = imported(module)
    session, text = Session(lowered(made)), list[int]()
    for call in CALLS:
        text += call
        expected = module(torch.tensor(text, dtype=torch.int32))[-1].numpy()
        np.testing.assert_allclose(
            session.forward(call), expected, rtol=1e-3, atol=1e-3 * max(1, np.abs(expected).max())
        )
    usual = bits(lowered(made))
    for without in LEFT_OUT:
        assert bits(lowered(made, without)) == usual, without


def compared(count: int, targets: tuple[str, ...], folder: Path) -> None:
    """So many modules give the interpreter's bits on targets; passes are left out in turn."""
    drawn: list[Module] = []
    each(count, lambda module: drawn.append(imported(module)), shrink=False)
    choices = [(), *LEFT_OUT]
    recorded = [
        Recorded(lowered(module, choices[number % len(choices)]), CALLS, 1) for number, module in enumerate(drawn)
    ]
    for start in range(0, len(recorded), TOGETHER):
        part = recorded[start : start + TOGETHER]
        for target in targets:
            found = Program(target, part, folder / f"{target}-{start}").run()
            for number, (ours, one) in enumerate(zip(found, part, strict=True)):
                for got, wanted in zip(ours, one.expected(), strict=True):
                    differ = [name for name in wanted if got[name].tobytes() != wanted[name].tobytes()]
                    assert not differ, f"module {start + number} on {target}: {differ}"


def on_onnx(count: int, every: int, folder: Path) -> None:
    """One of so many of these modules gives the interpreter's bits in ONNX Runtime."""
    drawn: list[Drawn] = []
    each(count, drawn.append, shrink=False)
    for number, module in enumerate(drawn[::every]):
        place = folder / str(number)
        place.mkdir()
        assert_agrees(lowered(imported(module)), place, CALLS)


@pytest.mark.slow
def test_every_function_is_drawn() -> None:
    kinds: set[str] = set()
    each(MANY, lambda module: kinds.update(step.kind for step in module.steps), shrink=False)
    assert kinds == ONE.keys() | TWO.keys()


def test_a_layer_behind_attention_keeps_its_state() -> None:
    near_pytorch(Drawn([Step("sloped", 0, 0), Step("lstm", 0, 0)]))


def test_some_modules() -> None:
    each(FEW, near_pytorch)


def test_some_modules_in_onnx(tmp_path: Path) -> None:
    on_onnx(FEW, 9, tmp_path)


def test_some_modules_compiled(tmp_path: Path) -> None:
    compared(2, ("x86_64-avx2",), tmp_path)


@pytest.mark.slow
def test_many_modules() -> None:
    each(MANY, near_pytorch)


@pytest.mark.slow
def test_many_modules_in_onnx(tmp_path: Path) -> None:
    on_onnx(MANY, 1, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["x86_64-avx2", "wasm32-simd128"])
def test_many_modules_compiled(target: str, tmp_path: Path) -> None:
    compared(MANY, (target,), tmp_path)
