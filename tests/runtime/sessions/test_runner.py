"""chimera-run with the toy model: its command line, and its requests through ``RunnerSession``."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chimerac.runtime import BundleError, load
from chimerac.runtime.sessions.diagnostics import Diagnostics
from chimerac.runtime.sessions.interface import Prompt
from chimerac.runtime.sessions.native import NativeSession
from chimerac.runtime.sessions.runner import RUNNER_NAME, RunnerSession, find_emulator

TOKENS = [int(token) for token in np.random.default_rng(0).integers(0, 256, 40)]


@pytest.fixture
def session(runner: Path, toy: Any) -> Iterator[RunnerSession]:
    with RunnerSession(toy.manifest, runner, "/usr/bin/env") as opened:
        yield opened


def run(folder: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [str(folder / RUNNER_NAME), *arguments]
    return subprocess.run(command, capture_output=True, text=True, input=text, timeout=300)


def test_the_runner_computes_what_the_library_does(session: RunnerSession, toy: Any) -> None:
    options: dict[str, Any] = {
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 40,
        "repetition_penalty": 1.1,
        "seed": 2**63 + 5,
        "stream": 3,
    }
    prompts: list[Prompt] = ["some tëxt", TOKENS, b"bytes"]
    with load(toy.folder) as other:
        assert isinstance(other, NativeSession)
        assert (session.vocab_size, session.max_loops) == (other.vocab_size, other.max_loops)
        assert session.encode("äb\0c") == other.encode("äb\0c")
        assert session.encode("") == []
        assert session.logits() is None
        for prompt in prompts:
            for extra in ({}, {"loops": 3, "exit_threshold": 0.25}, {"reset": False}):
                pieces = list(session.generate(prompt, max_tokens=12, **options, **extra))
                assert pieces == list(other.generate(prompt, max_tokens=12, **options, **extra))
                assert session.tokens() == other.tokens()
                assert session.finish_reason == other.finish_reason
                assert session.logits_hash() == other.logits_hash()
                assert session.state_hash() == other.state_hash()
                assert session.position == other.position
                assert session.iterations == other.iterations
                ours, theirs = session.logits(), other.logits()
                assert ours is not None
                assert theirs is not None
                assert ours.tobytes() == theirs.tobytes()


def test_errors_are_those_of_the_library(session: RunnerSession) -> None:
    for options in ({"top_p": 2.0}, {"temperature": 1e300}, {"loops": 99}, {"temperature": -1.0}):
        with pytest.raises(BundleError) as caught:
            list(session.generate("x", **options))
        assert caught.value.code == "CHM420"
    for tokens in ([288], [-1], [2**31]):
        with pytest.raises(BundleError) as caught:
            session.prefill(tokens)
        assert caught.value.code == "CHM420"
    with pytest.raises(BundleError) as caught:
        list(session.generate([], reset=True))
    assert caught.value.code == "CHM421"
    session.prefill(TOKENS)
    assert session.position == len(TOKENS)


def test_a_closed_session(session: RunnerSession) -> None:
    session.close()
    session.close()
    with pytest.raises(BundleError, match="closed"):
        session.prefill([1])


def test_a_runner_that_dies(session: RunnerSession) -> None:
    session._child.kill()
    with pytest.raises(BundleError) as caught:
        session.prefill([1])
    assert caught.value.code == "CHM414"


def test_a_program_of_before_tells_less(runner: Path, toy: Any, tmp_path: Path) -> None:
    """One that does not know what is asked for: here the request comes to it under another name."""
    emulator = tmp_path / "emulator"
    emulator.write_text("#!/bin/sh\nsed -u 's/^diagnostics/dance/' | exec \"$@\"\n")
    emulator.chmod(0o755)
    with RunnerSession(toy.manifest, runner, str(emulator)) as session:
        list(session.generate([1, 2, 3], max_tokens=4))
        assert session.diagnostics() == Diagnostics()
        assert session.position


def test_a_damaged_bundle(runner: Path, toy: Any, tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    shutil.copytree(runner, folder)
    data = bytearray((folder / "toy.b158").read_bytes())
    data[-1] ^= 1
    (folder / "toy.b158").write_bytes(data)
    with pytest.raises(BundleError) as caught:
        RunnerSession(toy.manifest, folder, "/usr/bin/env")
    assert caught.value.code == "CHM406"
    done = run(folder, "x")
    assert done.returncode == 1
    assert "damaged" in done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "",
        "dance",
        "prefill x",
        "prefill 1 99999999999",
        "encode 0",
        "encode zz",
        "prompt 0g",
        "begin",
        "settings 1 2",
        "ledger 1 2",
    ],
)
def test_requests_that_are_not_valid(runner: Path, line: str) -> None:
    done = run(runner, "--serve", text=f"{line}\nposition\n")
    assert done.stdout.splitlines() == ["ok", "error 420 the request is not valid", "ok 0 0"]
    assert done.returncode == 0


def test_command_line(runner: Path, toy: Any) -> None:
    with load(toy.folder) as session:
        expected = "".join(map(str, session.generate("hello", max_tokens=9, seed=7, temperature=0.8)))
    options = ("-n", "9", "--seed", "7", "--temperature", "0.8")
    assert run(runner, *options, "hello").stdout == expected + "\n"
    assert run(runner, *options, "--threads", "2", "--", "hello").stdout == expected + "\n"
    assert run(runner, *options, text="hello\n\nhello\r\n").stdout == 2 * (expected + "\n")
    info = run(runner, "--info").stdout
    assert "model: toy\n" in info
    assert "threads: 1\n" in info
    assert "--max-tokens" in run(runner, "--help").stdout


def test_the_folder_can_be_given(runner: Path, tmp_path: Path) -> None:
    program = tmp_path / RUNNER_NAME
    shutil.copy(runner / RUNNER_NAME, program)
    alone = subprocess.run([str(program), "x"], capture_output=True, text=True)
    assert alone.returncode == 1
    assert "No such file" in alone.stderr
    assert subprocess.run([str(program), "--bundle", str(runner), "-n", "2", "x"]).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a", "b"), "more than one prompt: b"),
        (("--dance",), "unknown option --dance"),
        (("-n",), "no value for -n"),
        (("-n", "-1"), "not a number: -1"),
        (("-n", "4294967296"), "not a number"),
        (("--seed", "18446744073709551616"), "not a number"),
        (("--temperature", "warm"), "not a number: warm"),
    ],
)
def test_bad_arguments(runner: Path, arguments: tuple[str, ...], message: str) -> None:
    done = run(runner, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "usage:" in done.stderr


def test_values_out_of_range(runner: Path) -> None:
    for arguments in (("--temperature", "-1"), ("--loops", "77"), ("--threads", "99"), ("--kernels", "fast")):
        done = run(runner, *arguments, "x")
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")


def test_finding_an_emulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHIMERAC_QEMU", raising=False)
    assert find_emulator("aarch64") is None
    for name in ("qemu-aarch64", "qemu-aarch64-static"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        assert find_emulator("aarch64") == str(tmp_path / name)
    monkeypatch.setenv("CHIMERAC_QEMU", str(tmp_path / "qemu-aarch64"))
    assert find_emulator("aarch64") == str(tmp_path / "qemu-aarch64")
    monkeypatch.setenv("CHIMERAC_QEMU", "")
    assert find_emulator("aarch64") is None


def test_the_bundles_defaults_hold_where_nothing_is_given(runner: Path) -> None:
    explicit = ["-n", "9", "--temperature", "0.8", "--top-p", "0.9", "--repetition-penalty", "1.2"]
    assert run(runner, "hello").stdout == run(runner, *explicit, "hello").stdout
    assert run(runner, "--temperature", "0", "hello").stdout != run(runner, "hello").stdout
    deep = run(runner, "--mode", "deep", "hello").stdout
    assert deep == run(runner, "--loops", "3", "hello").stdout != run(runner, "hello").stdout
    assert run(runner, "--mode", "deep", "--loops", "1", "hello").stdout == run(runner, "--loops", "1", "hello").stdout
    wrong = run(runner, "--mode", "shallow", "hello")
    assert wrong.returncode == 2
    assert "there is no mode shallow" in wrong.stderr
