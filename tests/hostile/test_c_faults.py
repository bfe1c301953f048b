"""Every allocation and every call of the system in the C runtime fails in turn: a clean error, nothing left behind."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz_seeds import tokenizer_with_rules, toy_grammars
from project import NATIVE_TESTS, TESTS

from chimerac.runtime import bundle_format as bf
from chimerac.targets.code.library import runner_files

HERE = TESTS / "hostile" / "faults"
RUNNER = tuple(bf.NATIVE_DIRECTORY / name for name in bf.RUNNER_SOURCES)
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g")
#: What the runtime calls; each of these may fail.
CALLS = ("open", "close", "fstat", "mmap", "munmap", "read", "pthread_create")
#: What chimera-run calls, beside them.
RUNNER_CALLS = (
    "malloc",
    "calloc",
    "aligned_alloc",
    "fopen",
    "fseek",
    "ftell",
    "fread",
    "getline",
    "readlink",
)
#: Allocations of each story, and calls of the system.
STORIES = {
    "bundle",
    "files",
    "session",
    "encode",
    "rules",
    "grammar",
    "names",
    "bank",
    "threads",
    "open-files",
    "open-bank",
    "start-threads",
    "count-cores",
}


def wraps(*names: str) -> list[str]:
    return [f"-Wl,--wrap={name}" for name in names]


@pytest.fixture(scope="module")
def runtime(
    compile_native: Callable[..., Path], toy_flags: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The toy model and the runtime in one object, which the programs are linked with."""
    sources = [NATIVE_TESTS / "toy_model.c", *(bf.NATIVE_DIRECTORY / name for name in bf.POSIX_SOURCES)]
    output = tmp_path_factory.mktemp("runtime") / "runtime.o"
    return compile_native(output, sources, *SANITIZERS, "-r", "-nostdlib", *toy_flags, "-DTOY_SPECULATES")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return toy_grammars(tmp_path_factory.mktemp("files"))


def test_every_allocation_and_every_call_may_fail(
    compile_native: Callable[..., Path], runtime: Path, files: tuple[Path, ...], tmp_path: Path
) -> None:
    sources = [HERE / "faults.c", HERE / "wrapped.c", runtime]
    program = compile_native(tmp_path / "faults", sources, *SANITIZERS, "-pthread", *wraps(*CALLS))
    rules = tokenizer_with_rules(tmp_path / "rules")
    done = subprocess.run([program, *files, rules], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    counts = {name: int(count) for name, count in map(str.split, done.stdout.splitlines())}
    assert set(counts) == STORIES
    assert min(counts.values()) >= 2


REQUESTS = """prompt 68656c6c6f
settings 2 0 1065353216 1063675494 20 1066192077 7 7
grammar default
begin 40
next
encode 68656c6c6f
grammar name regex
snapshot
grammar pack 00
prefill 1 2 3
state_hash
"""


@pytest.fixture(scope="module")
def runner(
    compile_native: Callable[..., Path],
    runtime: Path,
    files: tuple[Path, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """runner(place, error, *words): chimera-run in which a call fails, in the folder of its bundle.

    The last word of its standard error is how many there were.
    """
    folder = tmp_path_factory.mktemp("runner")
    for file in files:
        shutil.copy(file, folder)
    (folder / "files.c").write_text("#include <stdint.h>\n" + runner_files("weights", "tokenizer", "pack"))
    sources = [*RUNNER, folder / "files.c", HERE / "wrapped.c", runtime]
    flags = [*SANITIZERS, "-pthread", "-DWRAP_RUNNER", *wraps(*CALLS, *RUNNER_CALLS)]
    program = compile_native(folder / "chimera-run", sources, *flags)

    def run(place: int, error: int, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "FAULT_AT": str(place), "FAULT_ERRNO": str(error)}
        return subprocess.run(
            [program, *words], input=REQUESTS, capture_output=True, text=True, timeout=60, check=False, env=environment
        )

    return run


@pytest.mark.parametrize(
    "words",
    [
        ["--serve"],
        pytest.param(["hello", "--threads", "2", "-n", "40"], marks=pytest.mark.slow),
        pytest.param([], marks=pytest.mark.slow),
    ],
    ids=["serve", "prompt", "lines"],
)
def test_chimera_run_says_what_failed(
    words: list[str], runner: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    good = runner(0, 0, *words)
    assert good.returncode == 0, good.stderr
    calls = int(good.stderr.split()[-1])
    expected = good.stdout.splitlines()
    assert calls >= 25
    outcomes = set()
    for place in range(1, calls + 1):
        done = runner(place, errno.ENOMEM, *words)
        assert done.returncode in (0, 1), done.stderr[-3000:]
        lines = done.stdout.splitlines()
        if done.returncode == 0 and "--serve" not in words:
            assert lines == expected, f"call {place}: something else than without the failure, and no error"
        elif done.returncode and "--serve" not in words:
            assert "error: " in done.stderr, place
        for line, wanted in zip(lines, expected, strict=False):
            if "--serve" not in words or line == wanted:
                continue
            assert re.match(r"error 4\d\d \S|ok", line), (place, line)
            if line.startswith("ok"):  # of another state, since an earlier request failed
                assert any(earlier.startswith("error") for earlier in lines), (place, line)
        outcomes.add(done.returncode)
    assert outcomes == {0, 1}


def test_output_that_cannot_be_written_is_an_error(
    compile_native: Callable[..., Path], runtime: Path, files: tuple[Path, ...], tmp_path: Path
) -> None:
    for file in files:
        shutil.copy(file, tmp_path)
    (tmp_path / "files.c").write_text("#include <stdint.h>\n" + runner_files("weights", "tokenizer", "pack"))
    sources = [*RUNNER, tmp_path / "files.c", runtime]
    program = compile_native(tmp_path / "chimera-run", sources, *SANITIZERS, "-pthread")
    for words in (["hello"], [], ["--info"], ["--serve"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [program, *words],
                input=REQUESTS,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
            )
        assert done.returncode == 1
        assert "error: the output cannot be written" in done.stderr
