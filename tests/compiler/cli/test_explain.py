"""``chimerac explain file.py:Class`` and ``chimerac build file.py:Class``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_tools import Command

FILE = Path(__file__).parents[2] / "support" / "obstructed.py"

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


def line(comment: str) -> int:
    (number,) = [i for i, text in enumerate(FILE.read_text().splitlines(), 1) if text.endswith(f"  # {comment}")]
    return number


def test_all_that_stands_in_the_way(chimerac: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FILE.parent)
    found = chimerac("explain", "obstructed.py:Several")
    assert found.code == 1
    assert (
        found.out
        == f"""\
Several: a language model, tokens in and logits out
4 things stand in the way:

CHM211  2x  aten.kthvalue.default  not supported
    in layers.0  obstructed.py:{line("kthvalue")}
    in layers.1  obstructed.py:{line("kthvalue")}
    help: torch.topk(x, k)[0][..., -1] is the k-th largest; of -x, negated, the k-th smallest

CHM211  2x  aten.digamma.default   not supported
    in layers.0  obstructed.py:{line("digamma")}
    in layers.1  obstructed.py:{line("digamma")}
    help: compute it once outside of forward, and register the result as a buffer

CHM213  1x  aten.add.Tensor        buffer h, f32[8], is overwritten by f32[1]
    in the module  obstructed.py:{line("buffer")}
    help: a buffer keeps its shape and dtype

CHM211  1x  aten.lgamma.default    not supported
    in the module  obstructed.py:{line("lgamma")}
    help: compute it once outside of forward, and register the result as a buffer
"""
    )


def test_a_module_that_compiles(chimerac: Command) -> None:
    found = chimerac("explain", f"{FILE}:Fine", "--json")
    assert found.code == 0
    assert json.loads(found.out)["compiles"] is True


def test_a_module_of_tensors(chimerac: Command) -> None:
    found = chimerac("explain", f"{FILE}:Tensors", "--example", "1,T:f32", "--json")
    assert found.code == 0
    answer = json.loads(found.out)
    assert (answer["compiles"], answer["obstacles"]) == (True, [])
    assert answer["inputs"] == ["x float32[1,T]"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Arguments", "needs arguments: width"),
        ("not_a_module", "is no nn.Module"),
        ("Fin", "has no class Fin"),
        ("Raises", "raises ValueError: no weights here"),
    ],
)
@pytest.mark.parametrize("verb", ["explain", "build"])
def test_sources_that_make_no_module(chimerac: Command, verb: str, name: str, message: str) -> None:
    found = chimerac(verb, f"{FILE}:{name}")
    assert found.code == 1
    assert "CHM219" in found.err
    assert message in found.err
    if name == "Raises":
        assert f"obstructed.py:{line('raises')}:" in found.err
    if name == "Fin":
        assert "did you mean 'Fine'?" in found.err


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("import torch\n\nx = 1 / 0\n", "raises ZeroDivisionError: division by zero", "mine.py:3:"),
        ("def broken(:\n", "raises SyntaxError", "mine.py:1:"),
        ("import sys\nsys.exit(3)\n", "raises SystemExit: 3", "mine.py:2:"),
    ],
)
def test_files_that_raise(chimerac: Command, tmp_path: Path, text: str, message: str, place: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    found = chimerac("explain", tmp_path / "mine.py:Model")
    assert found.code == 1
    assert message in found.err
    assert place in found.err
    assert "source.py" not in found.err


def test_a_build_from_a_file(chimerac: Command, tmp_path: Path) -> None:
    found = chimerac("build", f"{FILE}:Fine", "--out", tmp_path, "--quiet")
    assert found.code == 0, found.err
    assert chimerac("verify", next(tmp_path.iterdir())).code == 0


def test_a_module_takes_no_settings(chimerac: Command) -> None:
    found = chimerac("build", f"{FILE}:Fine", "--scale", "nano")
    assert (found.code, "takes no scale, settings, weights or activations" in found.err) == (1, True)
    assert "CHM219" in chimerac("explain", "nowhere.py:Model").err
    assert "CHM219" in chimerac("explain", "model.py").err
