"""The C runtime stands what is made of good inputs: hundreds of thousands of them, in process, under sanitizers.

``scripts/fuzz.sh`` runs the same targets for longer.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from c_fuzzing import GCC, SOURCES, TARGETS, build, run

#: A million, some fifteen seconds each.
MANY = {
    "container": 600_000,
    "tokenizer": 100_000,
    "pack": 50_000,
    "snapshot": 90_000,
    "session": 30_000,
    "runner": 130_000,
    "calls": 100_000,
    "names": 300_000,
    "heard": 100_000,
    "spans": 20_000,
    "drafts": 10_000,
    "memory": 10_000,
}
#: Blocks of the code that the seeds alone reach and fuzzing has to pass; well under what it finds.
LEAST = {
    "container": 700,
    "tokenizer": 1400,
    "pack": 1800,
    "snapshot": 1600,
    "session": 3200,
    "runner": 2000,
    "calls": 1050,
    "names": 1200,
    "heard": 1500,
    "spans": 3000,
    "drafts": 3200,
    "memory": 2900,
}


@pytest.fixture(scope="module")
def programs(gcc: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build(tmp_path_factory.mktemp("fuzz"), tools=GCC)


def test_every_target_is_fuzzed() -> None:
    assert set(MANY) == set(LEAST) == set(TARGETS)


@pytest.mark.parametrize("part", [pytest.param(1, marks=pytest.mark.slow), 20], ids=["a million", "some"])
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found(target: str, part: int, programs: dict[str, Path]) -> None:
    executions = MANY[target] // part
    done = run(programs[target], executions, seed=1, tools=GCC)
    assert done.executions == executions
    assert done.coverage >= LEAST[target]


def test_equal_seeds_give_equal_runs(programs: dict[str, Path]) -> None:
    runs = [run(programs["container"], 3000, seed, tools=GCC) for seed in (5, 5, 6)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


BROKEN = """
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 4 || memcmp(data, "ab", 2)) return 0;
  if (data[2] == '0') FAULT;
  return 0;
}
"""


@pytest.fixture(scope="module")
def broken(compile_native: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """broken(fault): a target that does this where an input begins with ab0, beside one that begins with ab."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "inputs").mkdir()
    (folder / "inputs" / "one").write_bytes(b"abcd")
    (folder / "broken.c").write_text(BROKEN)

    def make(fault: str) -> Path:
        sources = [folder / "broken.c", SOURCES / "fuzz_driver.c"]
        return compile_native(folder / "fuzz_broken", sources, "-fsanitize=address", f"-DFAULT={fault}")

    return make


@pytest.mark.parametrize(
    "fault",
    [
        "abort()",
        "exit(0)",
        "{volatile char *p = malloc(4); p[size] = 1; free((void *)p);}",
        "{void *volatile p = malloc(4); p = 0;}",
    ],
    ids=["abort", "exit", "overflow", "leak"],
)
def test_the_driver_reports_what_it_finds(fault: str, broken: Callable[[str], Path], tmp_path: Path) -> None:
    program = broken(fault)
    command = [
        str(program),
        "-executions",
        "200000",
        "-seed",
        "3",
        "-out",
        str(tmp_path),
        str(program.parent / "inputs"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "ASAN_OPTIONS": ""})
    assert done.returncode == 1
    assert "finding: " in done.stdout
    if "p = 0" not in fault:  # leaks are told at the end
        (found,) = tmp_path.iterdir()
        assert found.read_bytes()[:3] == b"ab0"
        assert str(found) in done.stdout
