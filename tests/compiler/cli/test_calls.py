"""Modules that are no language models on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from called_bundles import NATIVE, bundle
from cli_tools import Command
from made_once import Once

from chimerac.runtime.bundle_format import read_manifest

FILE = Path(__file__).parents[2] / "support" / "called_modules.py"

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


def test_a_build_says_what_comes_next(chimerac: Command, tmp_path: Path) -> None:
    found = chimerac("build", f"{FILE}:Filter", "--target", "onnx", "--out", tmp_path)
    assert found.code == 0, found.err
    assert "self-test passed: the interpreter's results and state" in found.out
    assert f"Next: chimerac inspect {tmp_path / 'filter.onnx'}" in found.out
    card = (tmp_path / "filter.onnx" / "MODEL_CARD.md").read_text()
    assert "- takes x float32[3]\n- returns 0 float32[3]; 1 int64[]; 2 float32[3]\n" in card
    assert "token" not in card
    report = (tmp_path / "filter.onnx" / "report.html").read_text()
    assert "costs per call" in report
    assert "x float32[3]" in report


def test_examples_and_the_block(chimerac: Command, tmp_path: Path) -> None:
    arguments = ("--example", "T:i64", "--example", "T:bool", "--example", ":f32", "--block", "12")
    found = chimerac("build", f"{FILE}:Classifier", *arguments, "-t", "onnx", "-o", tmp_path, "--quiet")
    assert found.code == 0, found.err
    (entry,) = read_manifest(tmp_path / "classifier.onnx").entries
    assert entry.most == 12
    assert list(map(str, entry.inputs)) == ["ids int64[T] from 0 to 9", "kept bool[T]", "scale float32[]"]
    chimerac("build", "home", "--block", "4").refused("CHM219", "takes no block")


def test_what_is_said_of_a_bundle(chimerac: Command, once: Once) -> None:
    folder = bundle(once, "classifier", NATIVE)
    found = chimerac("inspect", folder)
    assert found.code == 0
    lines = [
        "call takes ids int64[T] from 0 to 9; kept bool[T]; scale float32[]",
        "     returns scores float32[T,3]; rows float32[T,8]; best int64[T]; any bool[T]; seen int64[]",
        "T is from 1 to 8",
    ]
    assert "\n".join(lines) in found.out
    found = chimerac("verify", folder)
    assert found.code == 0
    assert "self-test: the interpreter's results and state" in found.out
    chimerac("verify", folder, "--config", "home").refused("CHM330", "holds no language model")
    chimerac("run", folder, "hello").refused("CHM421", "holds no language model", "session.call({'ids': …")
    chimerac("run", folder).refused("CHM421", "holds no language model")


def test_how_long_a_call_takes(chimerac: Command, once: Once) -> None:
    folder = bundle(once, "classifier", NATIVE)
    found = chimerac("bench", folder, "--threads", "1", "--seconds", "0.1")
    assert found.code == 0, found.err
    for part in (
        "T = 1: ms",
        "T = 8: ms",
        "90 % of calls within ms",
        "Where a call's time goes",
        "By kernel",
        "Memory",
    ):
        assert part in found.out
    assert "token" not in found.out
    report = json.loads(chimerac("bench", folder, "--threads", "1", "--seconds", "0.1", "--json").out)
    assert [(run["threads"], run["n"]) for run in report["runs"]] == [(1, 1), (1, 8)]
    for run in report["runs"]:
        assert 0 < run["best_seconds"] <= run["seconds"] <= run["p90_seconds"]
        assert run["calls"] > 0
    last = report["runs"][-1]["time"]
    assert sum(step["seconds"] for step in last["steps"]) + last["other_seconds"] == pytest.approx(last["seconds"])
    chimerac("bench", folder, "--threads", "99").refused("CHM420", "99 threads")


def test_bench_of_the_other_kind_is_refused(once: Once, toy: object) -> None:
    import chimerac

    with pytest.raises(chimerac.UserError, match="holds no language model") as caught:
        chimerac.bench(bundle(once, "classifier", NATIVE), seconds=0.1)
    assert caught.value.code == "CHM421"
