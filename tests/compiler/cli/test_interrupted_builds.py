"""Builds that end early, by errors, Ctrl-C or SIGKILL: the place of the bundle holds a whole bundle or nothing."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import re
import resource
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import obstructed
import pytest
import torch
from cli_tools import NOISE, Command, Outcome, start
from faults import Faults

from chimerac.compiler.build import places
from chimerac.compiler.build.workspace import LOCK_NAME, workspace
from chimerac.compiler.ir.activity import Activity
from chimerac.compiler.model import Model
from chimerac.compiler.packaging.package import Found
from chimerac.runtime.bundle_format import SelfTest, read_manifest, verify_files

Build = Callable[[], Outcome]


class Killed(BaseException):
    """Stands for a process that ends without a word."""


OF_PLACES = ((places, "exchange"), (places, "sync"))


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    """The output folder of ``build``."""
    return tmp_path / "dist"


@pytest.fixture
def build(chimerac: Command, document: Path, imported: Model, dist: Path) -> Build:
    """Builds the session's web bundle again into ``dist``, but for the import."""
    return lambda: chimerac("build", document, "--scale", "nano", "-t", "wasm", "-o", dist)


@pytest.fixture
def quick(build: Build, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Build:
    """``build`` without the slow steps that write nothing: its files are the session's bundle's."""
    expected = read_manifest(bundles["wasm"]).self_test

    def link_library(
        driver: str,
        objects: Sequence[Path],
        target: object,
        isa: object,
        work: Path,
        out: Path,
        *,
        threads: bool = False,
        tensors: bool = False,
        rules: Sequence[str] = (),
        run: object = None,
    ) -> None:
        shutil.copyfile(bundles["wasm"] / out.name, out)

    assert expected is not None
    found = Found(expected, Activity())

    monkeypatch.setattr("chimerac.compiler.packaging.code.link_library", link_library)
    monkeypatch.setattr("chimerac.compiler.build.build.make_self_test", lambda *_: found)
    return build


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("older", [pytest.param(False, marks=pytest.mark.slow), True], ids=["first build", "rebuild"])
@pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.slow), pytest.param(41)], ids=["every fault", "every forty-first"]
)
def test_any_file_operation_may_fail(
    quick: Build, bundles: dict[str, Path], dist: Path, monkeypatch: pytest.MonkeyPatch, step: int, older: bool
) -> None:
    dist.mkdir()
    if older:
        shutil.copytree(bundles["wasm"], dist / bundles["wasm"].name)
        (dist / bundles["wasm"].name / "notes.txt").write_text("of the older bundle")
    before = contents(dist)
    faults = Faults(dist, errno.ENOSPC, monkeypatch, OF_PLACES)
    k = 1
    while True:
        faults.count, faults.at = 0, k
        shown = quick()
        if faults.count < k:  # nothing was left to fail
            assert shown.code == 0, shown.err
            faults.at = 0
            break
        assert shown.code == 1, (k, shown.out, shown.err)
        assert re.match(r"error CHM(321|4\d\d): .*No space left on device", shown.err), shown.err
        assert not any(noise in shown.err for noise in NOISE)
        assert contents(dist) == before, k
        assert len(list(dist.iterdir())) == older
        k += step
    assert k > 60
    assert contents(dist / bundles["wasm"].name) == contents(bundles["wasm"])


@pytest.mark.parametrize(
    "exchanged", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["exchange", "two renames"]
)
@pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.slow), pytest.param(61)], ids=["every step", "every sixty-first"]
)
def test_a_kill_at_any_file_operation_loses_nothing(
    quick: Build, bundles: dict[str, Path], dist: Path, monkeypatch: pytest.MonkeyPatch, step: int, exchanged: bool
) -> None:
    """SIGKILL at the k-th of them: the older bundle or the new one is there, whole, and the next build tidies up."""
    place = dist / bundles["wasm"].name
    shutil.copytree(bundles["wasm"], place)
    (place / "notes.txt").write_text("of the older bundle")
    older, newer = contents(place), contents(bundles["wasm"])
    if not exchanged:
        monkeypatch.setattr(places, "exchange", lambda *_: False)
    faults = Faults(dist, None, monkeypatch, OF_PLACES)
    assert quick().code == 0
    last = faults.count
    for k in sorted({*range(1, last + 1, step), *range(last - 3, last + 1)}):  # the last ones put it in place
        shutil.rmtree(dist)
        shutil.copytree(bundles["wasm"], place)
        (place / "notes.txt").write_text("of the older bundle")
        child = os.fork()
        if child == 0:
            faults.count, faults.at = 0, k
            try:
                quick()
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        if exchanged or place.exists():
            assert contents(place) in (older, newer), k
        with workspace(place) as running:  # what the next build begins with
            assert contents(place) in (older, newer), k
            assert sorted(dist.iterdir()) == sorted([running, place])
    assert quick().code == 0
    assert contents(place) == newer


@pytest.mark.parametrize("most", [1_000, 100_000, 500_000])
def test_a_full_disk(quick: Build, dist: Path, most: int) -> None:
    """Writes that fail half way, as on a full disk: here by the limit on the size of files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        shown = quick()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert re.match(r"error CHM(321|400): .*File too large", shown.err), shown.err
    assert (shown.code, list(dist.iterdir())) == (1, [])


def test_a_bundle_that_fails_its_self_test_is_not_put_in_place(
    quick: Build, bundles: dict[str, Path], dist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested = read_manifest(bundles["wasm"]).self_test
    assert tested is not None
    wrong = SelfTest(tested.prompt, tested.tokens, "0" * 16, tested.state_hash)
    monkeypatch.setattr("chimerac.compiler.build.build.make_self_test", lambda *_: Found(wrong, Activity()))
    quick().refused("CHM450", "the logits_hash of the self-test differ")
    assert list(dist.iterdir()) == []


def test_a_clearing_that_is_killed_is_finished_by_the_next_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before each removal of a file or folder in turn, of what another build left or of its own."""
    for last in itertools.count():
        folder, removals = tmp_path / str(last), itertools.count()
        left = folder / ".a.wasm.left"
        (left / "half" / "deep").mkdir(parents=True)
        for name in ("half/weights", "half/deep/weights", "model.c", LOCK_NAME):
            (left / name).touch()

        def dying(real: Callable[..., None], end: int, count: Iterator[int]) -> Callable[..., None]:
            def remove(*arguments: object, **options: object) -> None:
                if next(count) == end:
                    raise Killed
                real(*arguments, **options)

            return remove

        with monkeypatch.context() as patch:
            for name in ("unlink", "rmdir"):
                patch.setattr(os, name, dying(getattr(os, name), last, removals))
            try:
                with workspace(folder / "a.wasm"):
                    pass
            except Killed:
                pass
            else:
                break
        with workspace(folder / "a.wasm") as running:
            assert list(folder.iterdir()) == [running]
        assert not list(folder.iterdir())
    assert last == 9, "four files and three folders, and the own lock and folder"


def test_a_linker_that_fails_shows_what_it_said(build: Build, dist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_driver = "chimerac.targets.code.driver.write_driver"
    monkeypatch.setattr(write_driver, lambda *_: "#error the driver is broken\n")
    build().refused("CHM302", "the C compiler failed", "#error the driver is broken")
    assert list(dist.iterdir()) == []


@pytest.mark.slow
def test_killed_builds_leave_nothing_under_the_name(build: Build, bundles: dict[str, Path], dist: Path) -> None:
    """SIGKILL at times spread over a whole build, then a build that works."""
    name = bundles["wasm"].name
    started = time.perf_counter()
    assert build().code == 0  # and the caches are warm
    seconds = time.perf_counter() - started
    for part in (0.4, 0.7, 0.95):
        if part < 0.7:
            shutil.rmtree(dist / name, ignore_errors=True)
        child = os.fork()
        if child == 0:
            try:
                build()
            finally:
                os._exit(0)
        time.sleep(part * seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert [p.name for p in dist.iterdir() if not p.name.startswith(".")] in ([], [name])
        if (dist / name).exists():
            verify_files(dist / name, read_manifest(dist / name))
    with workspace(dist / name) as running:  # of a build that is still at work
        assert build().code == 0
        assert list(dist.iterdir()) in ([running, dist / name], [dist / name, running]), "killed builds left a folder"
    assert contents(dist / name) == contents(bundles["wasm"])


@pytest.mark.slow
def test_a_hundred_kills_at_any_time_lose_nothing(chimerac: Command, dist: Path) -> None:
    """Builds over an older bundle and first ones end after a random time: of the clock, alone or with their compilers,
    or of their processor, which finds their own steps on a busy machine, too."""
    torch.set_num_threads(1)  # children have no other threads
    place = dist / "fine.x86_64-avx2"

    def small() -> Outcome:
        return chimerac("build", f"{obstructed.__file__}:Fine", "-t", "x86_64-avx2", "-o", dist, "-q")

    assert small().code == 0
    newer = contents(place)
    older = {**newer, "notes.txt": b"of the older bundle"}
    began, spent = time.monotonic(), time.process_time()
    assert small().code == 0
    longest, most = 1.2 * (time.monotonic() - began), 1.05 * (time.process_time() - spent)
    left: Counter[str] = Counter()
    while left.total() < 100:
        over, how = random.random() < 0.7, left.total() % 3
        if over:
            place.mkdir(exist_ok=True)
            (place / "notes.txt").write_bytes(older["notes.txt"])
        else:
            shutil.rmtree(place)
        child = os.fork()
        if child == 0:
            try:
                os.setsid()
                if how == 2:
                    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # the end of the process, like SIGKILL
                    signal.setitimer(signal.ITIMER_PROF, random.uniform(0.001, most))
                small()
            finally:
                os._exit(0)
        if how < 2:
            time.sleep(random.uniform(0, longest))
            with contextlib.suppress(ProcessLookupError):
                (os.kill, os.killpg)[how](child, signal.SIGKILL)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) in (-signal.SIGKILL, -signal.SIGPROF):
            now = contents(place)
            left["newer" if now == newer else "older" if over and now == older else "nothing"] += 1
            assert now in (newer, older if over else {}), left
        else:
            assert contents(place) == newer
        if not place.exists():
            assert small().code == 0  # finds what the killed ones left
            assert contents(place) == newer
    assert small().code == 0
    assert (contents(place), list(dist.iterdir())) == (newer, [place])
    print(dict(left))


@pytest.mark.slow
@pytest.mark.parametrize("step", [pytest.param("config", marks=pytest.mark.slow), "self-test vector"])
def test_ctrl_c_while_building(document: Path, tmp_path: Path, step: str) -> None:
    with start("build", document, "--scale", "nano", "-t", "wasm", "-o", tmp_path / "dist") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(step):
                break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=300)
        assert process.returncode in (1, 130), err
    assert not any(noise in err for noise in NOISE), err
    assert len(err) < 50
    assert not (tmp_path / "dist").exists() or not list((tmp_path / "dist").iterdir())
