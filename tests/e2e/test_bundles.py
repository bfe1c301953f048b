"""Bundles of the Chimera document at nano scale: every target computes the interpreter's bits."""

from __future__ import annotations

import filecmp
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import chimerac
from chimerac.compiler.build.build import build
from chimerac.compiler.build.importing import import_model
from chimerac.compiler.build.lowering import lower
from chimerac.compiler.build.self_test import self_test
from chimerac.compiler.model import Model
from chimerac.runtime.bundle_format import OBLIGATIONS, Generation, Ledger, Shares, Valve, read_manifest
from chimerac.runtime.options import PLAIN
from chimerac.targets.registry import find_target

TARGETS = ("x86_64-avx2", "wasm")
PROMPT = list(b"It was a bright cold day in April, and the clocks were striking thirteen.")


@pytest.fixture(scope="module")
def source(document: Path) -> Model:
    """The document's model."""
    return import_model(document, scale="nano")


def interpreter_run(source: Model, loops: int, *, count: int = 64, unroll: bool = False) -> tuple[list[int], str, str]:
    """Greedy tokens after PROMPT, and the hashes of logits and state, from the interpreter."""
    assert source.tokenizer is not None
    module, _ = lower(source.module, find_target("wasm"), loops=loops if unroll else None)
    found = self_test(module, prompt=PROMPT, count=count, tokenizer=source.tokenizer, loops=loops).vector
    return list(found.tokens), found.logits_hash, found.state_hash


@pytest.mark.parametrize("loops", [*(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2)), 3])
def test_interpreter_native_and_wasm_agree_bit_for_bit(source: Model, bundles: dict[str, Path], loops: int) -> None:
    expected = interpreter_run(source, loops)
    for target in TARGETS:
        with chimerac.load(bundles[target]) as session:
            for _ in session.generate(PROMPT, max_tokens=64, **{**PLAIN, "loops": loops}):
                pass
            assert (session.tokens(), session.logits_hash(), session.state_hash()) == expected, target


@pytest.mark.slow
@pytest.mark.parametrize("targets", [TARGETS[:1], pytest.param(TARGETS, marks=pytest.mark.slow)], ids=len)
def test_unrolled_bundle_agrees_with_the_interpreter(
    document: Path, source: Model, tmp_path: Path, targets: list[str]
) -> None:
    build(document, scale="nano", targets=targets, out=tmp_path, loops=2)
    expected = interpreter_run(source, 2, count=24, unroll=True)
    for target in targets:
        with chimerac.load(tmp_path / f"chimera-5.1-final.{target}") as session:
            for _ in session.generate(PROMPT, max_tokens=24, **PLAIN):
                pass
            assert (session.tokens(), session.logits_hash(), session.state_hash()) == expected, target


@pytest.mark.parametrize(("temperature", "exit_threshold"), [(0.8, 0.0), (0.8, 0.3)])
def test_sampling_gives_the_same_tokens_everywhere(
    bundles: dict[str, Path], temperature: float, exit_threshold: float
) -> None:
    runs = []
    for target in TARGETS:
        with chimerac.load(bundles[target]) as session:
            options: dict[str, Any] = {"temperature": temperature, "top_p": 0.9, "repetition_penalty": 1.1, "seed": 42}
            for _ in session.generate(PROMPT, max_tokens=48, loops=6, exit_threshold=exit_threshold, **options):
                pass
            runs.append((session.tokens(), session.logits_hash(), session.state_hash()))
    assert runs[0] == runs[1]
    assert len(set(runs[0][0])) > 8


def test_prompt_in_pieces_equals_prompt_at_once(bundles: dict[str, Path]) -> None:
    with chimerac.load(bundles["x86_64-avx2"]) as session:
        session.prefill(PROMPT)
        whole = (session.logits_hash(), session.state_hash())
        session.reset()
        for start, stop in ((0, 1), (1, 16), (16, 40), (40, len(PROMPT))):
            session.prefill(PROMPT[start:stop])
        assert (session.logits_hash(), session.state_hash()) == whole


def test_self_tests_pass(bundles: dict[str, Path]) -> None:
    for path in bundles.values():
        with chimerac.load(path) as session:
            assert session.self_test()


@pytest.mark.slow  # test_second_family.py has a small model of which the same is asked
@pytest.mark.parametrize("target", TARGETS)
def test_builds_are_reproducible(document: Path, bundles: dict[str, Path], tmp_path: Path, target: str) -> None:
    """In another environment, with empty caches."""
    script = (
        "import sys; from chimerac.compiler.build.build import build;"
        f"build({str(document)!r}, scale='nano', targets=[{target!r}], out=sys.argv[1])"
    )
    environment = {
        "PYTHONHASHSEED": "7",
        "TZ": "Asia/Tokyo",
        "PATH": "/usr/bin:/bin",
        "LC_ALL": "C",
        "HOME": str(tmp_path),
    }
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "again")], env=environment, check=True, cwd=tmp_path)
    path = bundles[target]
    again = tmp_path / "again" / path.name
    names = sorted(p.name for p in path.iterdir())
    assert names == sorted(p.name for p in again.iterdir())
    assert [n for n in names if not filecmp.cmp(path / n, again / n, shallow=False)] == []


def test_rebuild_replaces_a_bundle_and_nothing_else(document: Path, tmp_path: Path) -> None:
    target = tmp_path / "chimera-5.1-final.wasm"
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    with pytest.raises(chimerac.UserError, match="not a bundle") as caught:
        build(document, scale="nano", targets=["wasm"], out=tmp_path)
    assert caught.value.code == "CHM320"
    assert (target / "notes.txt").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


def test_report_and_card_say_what_the_bundle_is(bundles: dict[str, Path]) -> None:
    report = (bundles["wasm"] / "report.html").read_text()
    for part in ("moe_sort_dispatch", "layers.3.mixer", "grouped_ternary_matmul", "recurrent state"):
        assert part in report
    assert "http" not in report.replace("http-equiv", "")
    assert "<td>enabled, not compiled yet</td><td>span_inference, tsp_knot.energy_terms.autoregressive, " in report
    assert "random" in (bundles["wasm"] / "MODEL_CARD.md").read_text()
    assert json.loads((bundles["wasm"] / "manifest.json").read_text())["provenance"]["scale"] == "nano"
    manifest = read_manifest(bundles["wasm"])
    assert manifest.self_test is not None
    modes = {"fast": 1, "balanced": 2, "reasoning": 4}
    valve = Valve((1.0, 2.0), (1, 2, 4), ("grammar_branching", "debt_pressure"))
    ledger = Ledger(OBLIGATIONS, 64, 307)
    shares = Shares(near=64, grammar=48, text=48, head=32, nearness=65536, boundary=22938)
    reasoning = {"reasoning": Shares(near=171, grammar=128, text=128, head=85, nearness=65536, boundary=22938)}
    wanted = Generation(0.7, 0.92, 1.08, 4096, 0.01, modes, valve, ledger, shares, reasoning)
    assert manifest.generation == wanted, "what the document says"
