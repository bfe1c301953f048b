"""``chimerac bench`` on bundles of the nano model: what is in the result, and what it does not print."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench_tools import LONG, measure_once
from cli_tools import Command, environment

import chimerac as package
from chimerac.compiler.bench.report import BenchReport
from chimerac.compiler.bench.subject import Subject
from chimerac.runtime.bundle_format import read_manifest
from chimerac.runtime.sessions.native_library import NativeLibrary

QUICK = ("--prompts", "3,20", "--seconds", str(LONG))


@pytest.fixture(autouse=True)
def _once(monkeypatch: pytest.MonkeyPatch) -> None:
    measure_once(monkeypatch)


@pytest.fixture(scope="module")
def report(bundles: dict[str, Path]) -> BenchReport:
    with pytest.MonkeyPatch.context() as patch:
        measure_once(patch)
        return package.bench(bundles["x86_64-avx2"], threads=(1, 2), prompts=(3, 20), seconds=LONG)


def test_everything_is_measured_with_each_number_of_threads(report: BenchReport, bundles: dict[str, Path]) -> None:
    assert [run.threads for run in report.runs] == [1, 2]
    assert report.rounds == 1
    assert report.name == "chimera-5.1-final"
    assert report.target == "x86_64-avx2"
    assert not report.emulated
    for run in report.runs:
        assert run.decode is not None
        assert run.decode.runs >= 4
        for rate in (run.decode, *run.prefill):
            assert 0 < rate.tokens_per_second <= rate.best_tokens_per_second
            assert rate.tokens_per_second == pytest.approx(rate.tokens / rate.seconds)
            assert rate.p90_seconds >= rate.seconds
        assert [rate.tokens for rate in run.prefill] == [3, 20]
        assert run.first_token is not None
        assert run.first_token.seconds == run.first_token.open_seconds + run.first_token.prompt_seconds
        assert run.weight_bytes_per_second == pytest.approx(report.decode_bytes / run.decode.seconds)
        assert run.read_bytes_per_second is not None
        assert run.weight_bytes_per_second is not None
        assert min(run.read_bytes_per_second.one_stream, run.read_bytes_per_second.eight_streams) > 0
        assert run.part_of_read_speed == pytest.approx(run.weight_bytes_per_second / run.read_bytes_per_second.best)
    manifest = read_manifest(bundles["x86_64-avx2"])
    memory = report.memory
    assert (memory.weights_bytes, memory.state_bytes) == (manifest.memory.weights_bytes, manifest.memory.state_bytes)
    assert memory.session_bytes is not None
    assert memory.session_bytes > memory.state_bytes + memory.arena_bytes
    if sys.platform == "linux":
        assert memory.peak_bytes is not None
        assert memory.before_bytes is not None
        assert memory.private_bytes is not None
        assert memory.peak_bytes > memory.before_bytes
        assert memory.peak_bytes > memory.private_bytes


def test_shares_cover_all_parts_of_the_model_and_all_bytes(report: BenchReport) -> None:
    for run in report.runs:
        time = run.time
        assert time is not None
        parts = {share.name: share for share in time.parts}
        assert {"embedding", "Gated DeltaNet", "mLSTM", "Titans memory", "feed-forward", "experts", "head"} <= set(
            parts
        )
        assert sum(parts[name].parts for name in ("Gated DeltaNet", "mLSTM", "Titans memory")) == 8
        assert parts["feed-forward"].parts + parts["experts"].parts == 8
        for shares in (time.parts, time.ops):
            assert all(share.share >= 0 for share in shares)
            assert sum(share.share for share in shares) + time.other_seconds / time.seconds == pytest.approx(1)
            assert sum(share.weight_bytes for share in shares) == report.decode_bytes
        assert 0 < time.other_seconds < time.seconds
        assert {"ternary_matmul", "gated_delta"} <= {share.name for share in time.ops}


def test_the_library_and_the_manifest_tell_the_same_bytes(bundles: dict[str, Path]) -> None:
    library = NativeLibrary(bundles["x86_64-avx2"] / "libchimera.so")
    steps = range(library.get("chm_profile_steps"))
    told = sum(library.get("chm_profile_weight_bytes", i) for i in steps)
    assert told == read_manifest(bundles["x86_64-avx2"]).memory.decode_bytes > 500_000
    assert len({(library.get("chm_profile_part", i), library.get("chm_profile_op", i)) for i in steps}) == len(steps)


def test_the_table(chimerac: Command, bundles: dict[str, Path]) -> None:
    shown = chimerac("bench", bundles["x86_64-avx2"], "--threads", "1", *QUICK)
    assert shown.code == 0, shown.err
    assert shown.err == ""
    for words in (
        "decode: tokens/s",
        "prompt of 20: tokens/s",
        "eight streams a thread",
        "Gated DeltaNet (5)",
        "By kernel",
    ):
        assert words in shown.out


def test_json_is_alone_on_standard_output(bundles: dict[str, Path]) -> None:
    code = "from chimerac.compiler.cli.main import main; main(prog_name='chimerac')"
    command = [
        sys.executable,
        "-c",
        code,
        "bench",
        str(bundles["x86_64-avx2"]),
        "--json",
        "--threads",
        "1",
        "--prompts",
        "3",
    ]
    command += ["--seconds", "0.05"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["schema"] == 1
    assert [run["threads"] for run in found["runs"]] == [1]
    assert found["chimerac"] == package.__version__


def test_without_threads_one_and_the_default_number_are_measured(bundles: dict[str, Path]) -> None:
    with package.load(bundles["x86_64-avx2"], threads=0) as session:
        default = session.threads
    found = package.bench(bundles["x86_64-avx2"], prompts=(2,), seconds=LONG)
    assert [run.threads for run in found.runs] == list(dict.fromkeys([1, default]))
    found = package.bench(bundles["x86_64-avx2"], threads=(0, default), prompts=(), seconds=LONG)
    assert [run.threads for run in found.runs] == [default]
    assert list(found.runs[0].prefill) == []


def test_a_prompt_that_takes_too_long_is_left_out(bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Subject, "prefill", lambda subject, length: 0.001 * length)
    found = package.bench(bundles["x86_64-avx2"], threads=(1,), prompts=(2, 60_000), seconds=1)
    assert [rate.tokens for rate in found.runs[0].prefill] == [2]
    assert any(note.startswith("a prompt of 60000 tokens would take") for note in found.notes)


def test_wasm_bundles_are_measured_through_node(bundles: dict[str, Path]) -> None:
    found = package.bench(bundles["wasm"], threads=(1,), prompts=(3,), seconds=LONG)
    (run,) = found.runs
    assert found.kernels.endswith(".wasm")
    assert run.decode is not None
    assert run.weight_bytes_per_second == pytest.approx(found.decode_bytes / run.decode.seconds)
    assert run.read_bytes_per_second is None
    assert run.part_of_read_speed is None
    assert run.time is None
    assert found.memory.session_bytes is None
    assert found.memory.before_bytes is None, "Node.js computes"
    assert any("Node.js" in note for note in found.notes)
    assert "eight streams" not in str(found)


def test_a_library_of_an_older_chimerac(bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    construct: Callable[..., None] = NativeLibrary.__init__

    def older(self: NativeLibrary, path: str | Path) -> None:
        construct(self, path)
        self.measures = False

    monkeypatch.setattr(NativeLibrary, "__init__", older)
    found = package.bench(bundles["x86_64-avx2"], threads=(1,), prompts=(3,), seconds=LONG)
    assert found.runs[0].time is None
    assert found.runs[0].read_bytes_per_second is None
    assert any("older chimerac" in note for note in found.notes)


# ---- misuse ----


def test_misuse(chimerac: Command, tmp_path: Path, bundles: dict[str, Path]) -> None:
    chimerac("bench", tmp_path).refused("CHM410")
    chimerac("bench", tmp_path / "gone").refused("CHM410")
    bundle = bundles["x86_64-avx2"]
    chimerac("bench", bundle, "--threads", "1,two").misused("--threads", "1,two")
    chimerac("bench", bundle, "--prompts", "1,,2").misused("--prompts")
    chimerac("bench", bundle, "--threads", "1,65").refused("CHM420", "65 threads")
    chimerac("bench", bundle, "--prompts", "0").refused("CHM420", "a prompt of 0 tokens")
    chimerac("bench", bundle, "--seconds", "0").refused("CHM420", "seconds")


def test_a_bundle_for_another_machine_is_refused(chimerac: Command, copied: Callable[[str], Path]) -> None:
    folder = copied("x86_64-avx2")
    path = folder / "manifest.json"
    manifest: dict[str, Any] = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"target": "riscv64-none"}))
    chimerac("bench", folder, *QUICK).refused("CHM413", "riscv64-none")


def test_a_damaged_bundle_is_refused(chimerac: Command, copied: Callable[[str], Path]) -> None:
    folder = copied("x86_64-avx2")
    entry = read_manifest(folder).file("weights")
    assert entry is not None
    data = bytearray((folder / entry.name).read_bytes())
    data[-100] ^= 1
    (folder / entry.name).write_bytes(data)
    chimerac("bench", folder, *QUICK).refused("CHM412", entry.name)


def test_without_a_bundle_it_takes_the_one_built_last(
    chimerac: Command, bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chimerac("bench", *QUICK).refused("CHM323")
    shutil.copytree(bundles["x86_64-avx2"], tmp_path / "dist" / "mine")
    shown = chimerac("bench", "--json", "--threads", "1", *QUICK)
    assert json.loads(shown.out)["bundle"] == str(Path("dist/mine"))
