"""The comparison of N4 with a plain transformer, a few steps of it on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from project import ROOT

pytestmark = pytest.mark.slow

SIZES = {"vocabulary": 400, "hidden": 32, "inter": 64, "heads": 2, "layers": 1, "length": 16, "batch": 4, "micro": 2}
RATES = {"steps": 24, "warmup": 4, "rate": 0.01, "minutes": 5}
#: What is installed where only PyTorch and numpy are.
ALONE = """
import sys
for name in ("lark", "safetensors", "click", "tvm", "onnx", "tokenizers", "splintr"):
    sys.modules[name] = None
sys.path.insert(0, "benchmarks/n4")
import train
train.main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts, out = tmp_path_factory.mktemp("texts"), tmp_path_factory.mktemp("out")
    for number in range(12):
        (texts / f"{number}.py").write_text(f"def f{number}(x):\n    return x + {number}  # λ\n\n" * 20)
    (texts / "again.py").write_text((texts / "3.py").read_text())
    (texts / "picture.png").write_bytes(bytes(2000))
    command = [sys.executable, "-c", ALONE, "--out", str(out), "--roots", str(texts)]
    command += [word for name, value in {**SIZES, **RATES}.items() for word in (f"--{name}", str(value))]
    variables = {**os.environ, "PYTHONPATH": "src", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def found(out: Path, name: str) -> Any:
    return json.loads((out / f"{name}.json").read_text())


def test_tokens_are_the_text_of_each_content_once(out: Path) -> None:
    pieces = [bytes.fromhex(text) for text in found(out, "vocabulary")]
    facts = found(out, "corpus")
    assert facts["files"] == 12
    text = b"".join(pieces[t] for name in ("train", "held_out") for t in np.fromfile(out / f"{name}.bin", np.uint16))
    assert len(text) == facts["bytes"]
    assert sorted(set(text.decode().split()) - {"#", "x", "+"}) == sorted(
        {"def", "return", "λ", *(f"f{n}(x):" for n in range(12)), *map(str, range(12))}
    )
    assert b" return" in pieces


def test_both_models_learn_and_have_about_one_size(out: Path) -> None:
    one, other = found(out, "n4"), found(out, "gpt")
    assert one["parameters"] == pytest.approx(other["parameters"], rel=0.02)
    for run in (one, other):
        assert (run["steps"], run["tokens"]) == (24, 24 * 4 * 16)
        assert [step for step, _ in run["train"]] == [8, 16, 24]
        assert run["train"][-1][1] < 0.9 * run["train"][0][1]
        assert run["held_out"][-1][0] == 24
    assert (out / "sample.txt").read_text().startswith("def read(path):")


def test_the_figure_has_both(out: Path) -> None:
    text = (out / "curves.svg").read_text()
    ElementTree.fromstring(text)
    assert text.count('class="line"') == 2
    assert "pre-norm transformer" in text
