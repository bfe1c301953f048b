"""AArch64 bundles in qemu, as three processors: the interpreter's tokens, logits and states, bit for bit."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from bench_tools import LONG, measure_once
from small_configs import SMALL_CONFIGS

import chimerac
from chimerac.compiler.build import writing
from chimerac.compiler.build.build import build_model
from chimerac.compiler.build.importing import import_model
from chimerac.compiler.build.self_test import self_test
from chimerac.compiler.build.timings import TimingLog
from chimerac.runtime.bundle_format import SelfTest, read_manifest
from chimerac.runtime.errors import BundleError
from chimerac.runtime.options import PLAIN
from chimerac.runtime.sessions.loading import check_runs_here
from chimerac.runtime.sessions.runner import RUNNER_NAME, find_emulator
from chimerac.targets.registry import find_target

QEMU = find_emulator("aarch64")
pytestmark = [
    pytest.mark.skipif(QEMU is None, reason="needs qemu-aarch64: scripts/setup-qemu.sh"),
    pytest.mark.skipif(platform.machine() == "aarch64", reason="nothing is emulated here"),
]

#: processors of qemu and the kernels that they take
PROCESSORS = {"cortex-a53": "neon", "cortex-a76": "dotprod", "max": "dotprod"}
PROMPT = list(b"It was a bright cold day in April")
COUNT = 10


@dataclass(frozen=True)
class Built:
    """A bundle, and what the interpreter computes for PROMPT with 1 and 2 loops."""

    path: Path
    expected: dict[int, SelfTest]


@pytest.fixture(scope="module", params=["nano", pytest.param("odd", marks=pytest.mark.slow)])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp(request.param)
    config = folder / "model.chimera"
    config.write_text(SMALL_CONFIGS[request.param])
    source, target = import_model(config), find_target("arm64")
    assert source.tokenizer is not None
    path = folder / f"{request.param}.aarch64-neon"
    module = build_model(source, target, path, check=False)
    expected = {
        loops: self_test(module, prompt=PROMPT, count=COUNT, tokenizer=source.tokenizer, loops=loops).vector
        for loops in (1, 2)
    }
    return Built(path, expected)


def found(session: chimerac.Session, loops: int) -> SelfTest:
    list(session.generate(PROMPT, max_tokens=COUNT, **{**PLAIN, "loops": loops}))
    return SelfTest(tuple(PROMPT), tuple(session.tokens()), session.logits_hash(), session.state_hash())


@pytest.mark.parametrize("processor", PROCESSORS)
def test_processors_compute_the_interpreters_bits(
    built: Built, processor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QEMU_CPU", processor)
    with chimerac.load(built.path) as session:
        assert session.kernels == PROCESSORS[processor]
        assert session.self_test()
        for loops, expected in built.expected.items():
            assert found(session, loops) == expected


@pytest.mark.slow
def test_decoding_token_by_token_equals_prefill(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    for processor in PROCESSORS:
        monkeypatch.setenv("QEMU_CPU", processor)
        with chimerac.load(built.path) as session:
            session.prefill(PROMPT)
            whole = (session.logits_hash(), session.state_hash())
            session.reset()
            for token in PROMPT:
                session.prefill([token])
            assert (session.logits_hash(), session.state_hash()) == whole


def test_kernels_can_be_chosen(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEMU_CPU", "max")
    monkeypatch.setenv("CHIMERA_CPU", "neon")
    with chimerac.load(built.path, threads=3) as session:
        assert (session.kernels, session.threads) == ("neon", 3)
        assert found(session, 2) == built.expected[2]
    monkeypatch.setenv("CHIMERA_CPU", "sve")
    with pytest.raises(BundleError, match="no kernels sve") as caught:
        chimerac.load(built.path)
    assert caught.value.code == "CHM420"
    monkeypatch.setenv("CHIMERA_CPU", "dotprod")
    monkeypatch.setenv("QEMU_CPU", "cortex-a53")
    with pytest.raises(BundleError, match="cannot run the kernels dotprod"):
        chimerac.load(built.path)


SHARED = r"""
#include <stdio.h>
#include "chimera.h"
int main(int count, char **files) {
  chm_bundle *bundle;
  chm_session *session;
  uint64_t hash;
  int32_t tokens[256], n = 0;
  for (const char *c = files[3]; *c; ++c) tokens[n++] = (uint8_t)*c;
  if (count != 4 || chm_bundle_open_files(files[1], files[2], 0, NULL, &bundle)) return puts(chm_last_error()), 1;
  if (chm_session_open(bundle, NULL, &session) || chm_session_set_loops(session, 2)) return 2;
  if (chm_session_prefill(session, tokens, n) || chm_session_logits_hash(session, &hash)) return 3;
  printf("%016llx %s\n", (unsigned long long)hash, chm_cpu_selected());
  chm_session_close(session);
  return chm_bundle_close(bundle);
}
"""
SYSTEM = Path("/usr/aarch64-linux-gnu")


@pytest.mark.skipif(not (SYSTEM / "lib" / "libc.so.6").exists(), reason="needs libc6-arm64-cross")
@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_shared_library_loads_and_agrees(built: Built, processor: str, tmp_path: Path) -> None:
    """A C program linked with libchimera.so, with the dynamic loader of a Debian system."""
    assert QEMU is not None
    source, program = tmp_path / "user.c", tmp_path / "user"
    source.write_text(SHARED)
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu.2.28", "-O1", f"-I{built.path}"]
    subprocess.run([*compiler, str(source), str(built.path / "libchimera.so"), "-o", str(program)], check=True)
    manifest = read_manifest(built.path)
    files = [str(built.path / entry.name) for role in ("weights", "tokenizer") if (entry := manifest.file(role))]
    command = [QEMU, "-L", str(SYSTEM), "-E", f"LD_LIBRARY_PATH={built.path}", str(program)]
    environment = {**os.environ, "QEMU_CPU": processor}
    done = subprocess.run([*command, *files, bytes(PROMPT)], capture_output=True, text=True, env=environment)
    with chimerac.load(built.path) as session:
        list(session.generate(PROMPT, max_tokens=0, **{**PLAIN, "loops": 2}))
        assert done.stdout.split() == [session.logits_hash(), PROCESSORS[processor]], done.stderr


def test_the_library_suits_pages_of_16_kib(built: Built) -> None:
    """Every loaded segment is aligned to 16 KiB, as newer Android and some Linux systems demand."""
    data = (built.path / "libchimera.so").read_bytes()
    start, size, count = (int.from_bytes(data[a : a + n], "little") for a, n in ((32, 8), (54, 2), (56, 2)))
    headers = [data[start + i * size : start + (i + 1) * size] for i in range(count)]
    loaded = [h for h in headers if int.from_bytes(h[:4], "little") == 1]
    assert loaded
    for header in loaded:
        offset, address, alignment = (int.from_bytes(header[a : a + 8], "little") for a in (8, 16, 48))
        assert alignment % 16384 == 0
        assert (address - offset) % alignment == 0


def test_without_an_emulator(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHIMERAC_QEMU", "no-such-emulator")
    for action in (chimerac.load, check_runs_here):
        with pytest.raises(BundleError, match="this machine is") as caught:
            action(built.path)
        assert caught.value.code == "CHM413"
        assert "qemu-user-static" in str(caught.value.hint)
        assert RUNNER_NAME in str(caught.value.hint)
    monkeypatch.undo()
    check_runs_here(built.path)


@pytest.mark.parametrize(
    ("emulator", "message"), [(QEMU, "self-test passed"), ("no-such-emulator", "not run: the bundle")]
)
def test_the_check_at_the_end_of_a_build(
    built: Built, emulator: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHIMERAC_QEMU", emulator)
    said: list[str] = []
    log = TimingLog(lambda step, what, seconds: said.append(what), 1)
    writing._check(built.path, find_target("aarch64-neon"), log, ())
    (line,) = said
    assert message in line


def test_an_emulator_that_does_not_work(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHIMERAC_QEMU", str(shutil.which("true")))
    with pytest.raises(BundleError, match="ended with status 0") as caught:
        chimerac.load(built.path)
    assert caught.value.code == "CHM414"


def test_a_benchmark_says_that_an_emulator_runs_the_bundle(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    measure_once(monkeypatch)
    found = chimerac.bench(built.path, threads=(1,), prompts=(2,), seconds=LONG)
    (run,) = found.runs
    assert found.emulated
    assert run.decode is not None
    assert run.time is None
    assert run.read_bytes_per_second is None
    assert found.decode_bytes > 0
    assert any("emulator" in note for note in found.notes)
    assert "in an emulator" in str(found)
