"""LSTM, GRU and steps of one's own: the interpreter's bits on every target, and the modules of docs/modules.md."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_tools import assert_agrees
from project import ROOT
from recurrent_models import RecurrentModel
from replay import Program, Recorded
from torch import nn

import chimerac
from chimerac.compiler.build import pipeline
from chimerac.compiler.build.importing import module_of_source
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module
from chimerac.frontends.export.importer import import_module
from chimerac.runtime.sessions.runner import find_emulator

CALLS = ((1, 2, 3), (0,), (3, 1), (9, 5, 11, 19, 2, 7), (4,))
LEFT_OUT = [(), *((name,) for name in sorted(pipeline.OPTIONAL)), tuple(sorted(pipeline.OPTIONAL))]
TARGETS = ("x86_64-avx2", "wasm32-simd128", "aarch64-neon")
EXAMPLES = {"lstm.py": "Letters", "averages.py": "Averages"}


def example(name: str, folder: Path) -> nn.Module:
    """A module of docs/modules.md."""
    page = (ROOT / "docs" / "modules.md").read_text("utf-8")
    files = dict(re.findall(r"^`([\w.]+)`:\n\n```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
    assert files.keys() == EXAMPLES.keys() | {"gpt.py", "squash.py"}  # test_attention.py, test_own_ops.py
    (folder / name).write_text(files[name])
    return module_of_source(f"{folder / name}:{EXAMPLES[name]}").eval().requires_grad_(False)


@cache
def imported(kind: str) -> Module:
    """An LSTM of two layers, or a GRU."""
    module = RecurrentModel(nn.LSTM, 2, width=13) if kind == "LSTM" else RecurrentModel(nn.GRU, 1)
    return import_module(module, name=kind.lower(), block=8)


def lowered(kind: str, without: tuple[str, ...] = ()) -> Module:
    return pipeline.run(imported(kind), pipeline.passes(without=without))[0]


def assert_a_target_gives_the_interpreters_bits(target: str, recorded: list[Recorded], folder: Path) -> None:
    if target == "aarch64-neon" and not find_emulator("aarch64"):
        pytest.skip("needs qemu-aarch64: scripts/setup-qemu.sh")
    expected = [one.expected() for one in recorded]
    found = Program(target, recorded, folder).run(0, "cortex-a53" if target == "aarch64-neon" else "")
    for ours, theirs in zip(found, expected, strict=True):
        for got, wanted in zip(ours, theirs, strict=True):
            assert {name: array.tobytes() for name, array in got.items()} == {
                name: array.tobytes() for name, array in wanted.items()
            }


def test_no_pass_changes_a_bit() -> None:
    calls = [Recorded(lowered("LSTM", without), CALLS, 1).expected() for without in LEFT_OUT]
    for other in calls[1:]:
        assert all(a["logits"].tobytes() == b["logits"].tobytes() for a, b in zip(other, calls[0], strict=True))


@pytest.mark.parametrize("target", TARGETS)
def test_targets_give_the_interpreters_bits(target: str, tmp_path: Path) -> None:
    """With all passes and with none."""
    recorded = [Recorded(lowered(kind, LEFT_OUT[-1]), CALLS, 1) for kind in ("LSTM", "GRU")]
    recorded += [Recorded(lowered("LSTM" if target == TARGETS[0] else "GRU"), CALLS, 1)]
    assert_a_target_gives_the_interpreters_bits(target, recorded, tmp_path / "program")


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_targets_give_the_interpreters_bits_without_any_pass(target: str, tmp_path: Path) -> None:
    recorded = [Recorded(lowered("LSTM", without), CALLS, 1) for without in LEFT_OUT]
    recorded += [Recorded(lowered("GRU"), CALLS, 1), Recorded(lowered("GRU", LEFT_OUT[-1]), CALLS, 1)]
    assert_a_target_gives_the_interpreters_bits(target, recorded, tmp_path / "program")


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_onnx_gives_the_interpreters_bits(kind: str, tmp_path: Path) -> None:
    assert_agrees(lowered(kind), tmp_path, CALLS)
    assert_agrees(lowered(kind, LEFT_OUT[-1]), tmp_path / "plain", CALLS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_modules_of_the_page_give_pytorchs_numbers(name: str, tmp_path: Path) -> None:
    module = example(name, tmp_path)
    made = pipeline.run(import_module(module, name="m", block=16), pipeline.passes())[0]
    tokens = np.random.default_rng(2).integers(0, 256, 50).tolist()
    given = (torch.tensor(tokens),) if name == "lstm.py" else (torch.tensor(tokens), torch.tensor(0))
    with torch.no_grad():
        expected = module(*given).numpy()
    session = Session(made)
    found = np.stack([session.forward([token]) for token in tokens])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    scan = next(op for op in made.entry("prefill").ops if op.name == "scan")
    inside = [op.name for op in scan.regions[0].ops]
    assert "linear" not in inside if name == "averages.py" else inside.count("linear") == 1


def test_a_bundle_of_the_pages_lstm(tmp_path: Path) -> None:
    """Each is compared with the interpreter when it is built."""
    example("lstm.py", tmp_path)
    report = chimerac.compile(f"{tmp_path / 'lstm.py'}:Letters", targets=["x86_64-avx2", "onnx"], out=tmp_path / "dist")
    answers = set()
    for bundle in report.bundles:
        with chimerac.load(bundle.path) as session:
            answers.add(tuple(piece.token for piece in session.generate("Once upon a time", max_tokens=12)))
    assert len(answers) == 1
