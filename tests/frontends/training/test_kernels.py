"""Kernels that are made before a run: of which lengths, that the run finds them, and what fails."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_tools import ALONE, CODEC

from chimerac.compiler.errors import UserError
from chimerac.frontends.training import Phase, Plan, train_plan, write_plan
from chimerac.frontends.training.data import DataFolder
from chimerac.frontends.training.kernels import lengths_of, make_kernels

Make = Callable[..., Plan]
#: A step of the same plan with more sequences in a process of its own, which tells what PyTorch's cache of kernels had.
COUNTING = """
import sys
from torch._dynamo.utils import counters
from chimerac.frontends.training import kernels
kernels.SEQUENCES = 7
kernels.main(*sys.argv[1:])
print(counters["inductor"]["fxgraph_cache_hit"], counters["inductor"]["fxgraph_cache_miss"])
"""


@pytest.fixture
def plan(make_plan: Make) -> Plan:
    return dataclasses.replace(make_plan(kind="sft", sequence_length=24), fused=True)


def test_each_length_is_made_once_the_longest_first(plan: Plan) -> None:
    short = dataclasses.replace(plan.phases[0], ends=(8, 16, 24))
    text = Phase("text", "pretrain", steps=1, sequence_length=16)
    several = dataclasses.replace(plan, phases=(short, dataclasses.replace(short, ends=(16, 24)), text))
    assert lengths_of(several) == [(0, 24), (0, 16), (2, 16), (0, 8)]


@pytest.mark.parametrize(("fields", "kernels"), [({}, -1), ({"fused": False}, 2), ({"compile": True}, 2)])
def test_kernels_that_nothing_would_take_are_refused(
    fields: dict[str, Any], kernels: int, plan: Plan, folder: DataFolder, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        train_plan(dataclasses.replace(plan, **fields), folder, tmp_path / "run", CODEC, ALONE, kernels=kernels)
    assert error.value.code == "CHM250"
    assert not (tmp_path / "run").exists()


def test_what_fails_is_said_and_left_to_the_run(plan: Plan, tmp_path: Path) -> None:
    lines: list[str] = []
    make_kernels(plan, tmp_path / "there_is_none.json", 2, "cpu", lines.append)
    assert lines[0].startswith("the kernels of rows of 24 tokens are made later: ")
    assert "there_is_none.json" in lines[0]
    assert lines[1].startswith("made the kernels of 0 of 1 lengths in ")


@pytest.mark.slow
def test_a_run_finds_what_was_made(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("g++") is None:
        pytest.skip("PyTorch makes kernels for processors with g++")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))
    file, lines = tmp_path / "plan.json", list[str]()
    write_plan(plan, file)
    make_kernels(plan, file, 1, "cpu", lines.append)
    assert lines[-1].startswith("made the kernels of 1 of 1 lengths in ")
    command = [sys.executable, "-c", COUNTING, str(file), "0", "24", "cpu"]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=True)
    hits, misses = map(int, done.stdout.split())
    assert hits > 4 * misses, (hits, misses)
