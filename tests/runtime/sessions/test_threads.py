"""Threads of a native bundle: the same bits with any number, shared by sessions, and in forks and on one core."""

from __future__ import annotations

import ctypes as ct
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from project import NATIVE_TESTS

from chimerac.runtime import BundleError, load
from chimerac.runtime import bundle_format as bf
from chimerac.runtime.sessions.native import NativeSession
from chimerac.runtime.sessions.native_library import NativeLibrary

OPTIONS: dict[str, Any] = {"max_tokens": 40, "temperature": 1.3, "seed": 3}
Outcome = tuple[list[int], str, str]


def outcome(session: Any) -> Outcome:
    for _ in session.generate("turn off the light", **OPTIONS):
        pass
    return session.tokens(), session.state_hash(), session.logits_hash()


@pytest.fixture(scope="module")
def expected(toy: Any) -> Outcome:
    with load(toy.folder) as session:
        assert session.threads == 1, "no thread is started unless asked for"
        return outcome(session)


@pytest.mark.parametrize("threads", [0, 1, 2, 3, 8, 64])
def test_bits_do_not_depend_on_threads(threads: int, toy: Any, expected: Outcome) -> None:
    with load(toy.folder, threads=threads) as session:
        assert session.threads == threads or (threads == 0 and 1 <= session.threads <= 8)
        assert outcome(session) == expected
        assert outcome(session) == expected


@pytest.mark.parametrize("threads", [-1, 65, 2.0, True])
def test_numbers_that_are_no_numbers_of_threads(threads: Any, toy: Any) -> None:
    with pytest.raises(BundleError, match="threads") as caught:
        load(toy.folder, threads=threads)
    assert caught.value.code == "CHM420"


def test_the_number_can_change_between_calls(toy: Any, expected: Outcome) -> None:
    with load(toy.folder) as session:
        assert isinstance(session, NativeSession)
        library, bundle = session._library, session._bundle
        for threads in (3, 3, 1, 2, 5, 0, 1):
            library.call("chm_bundle_set_threads", bundle, threads)
            assert outcome(session) == expected
        for wrong in (-1, 65):
            with pytest.raises(BundleError, match="1 to 64 are possible"):
                library.call("chm_bundle_set_threads", bundle, wrong)
        assert library.get("chm_bundle_threads", bundle) == 1
        assert library.get("chm_bundle_threads", None) == 0
        with pytest.raises(BundleError, match="NULL"):
            library.call("chm_bundle_set_threads", None, 2)


def number_of_threads() -> int:
    return len(os.listdir("/proc/self/task"))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_threads_end_with_the_bundle(toy: Any) -> None:
    before = number_of_threads()
    with load(toy.folder, threads=5):
        assert number_of_threads() == before + 4
    assert number_of_threads() == before


def test_sessions_of_a_bundle_share_the_threads(toy: Any, expected: Outcome) -> None:
    library = NativeLibrary(toy.file("code"))
    bundle = ct.c_void_p()
    files = [str(toy.file(role)).encode() for role in ("weights", "tokenizer")]
    library.call("chm_bundle_open_files", *files, 0, None, ct.byref(bundle))
    library.call("chm_bundle_set_threads", bundle, 3)
    hashes: list[int] = []

    def decode() -> None:
        session, found = ct.c_void_p(), ct.c_uint64()
        library.call("chm_session_open", bundle, None, ct.byref(session))
        for i in range(400):
            library.call("chm_session_decode", session, i % 288)
        library.call("chm_session_logits_hash", session, ct.byref(found))
        library.get("chm_session_close", session)
        hashes.append(found.value)

    workers = [threading.Thread(target=decode) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    library.call("chm_bundle_close", bundle)
    assert len(set(hashes)) == 1
    assert len(hashes) == 4


def run_python(program: str, *arguments: str) -> str:
    """In a process of its own, which a test may fork or starve."""
    head = "import os, sys\nfrom chimerac.runtime import BundleError, load\n"
    head += f"OPTIONS = {OPTIONS!r}\n"
    head += "def outcome(session):\n    list(session.generate('turn off the light', **OPTIONS))\n"
    head += "    return (session.tokens(), session.state_hash(), session.logits_hash())\n"
    command = [sys.executable, "-c", head + program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_child_of_a_fork_computes_alone_until_it_asks_for_threads(toy: Any, expected: Outcome) -> None:
    program = """
session = load(sys.argv[1], threads=4)
before = outcome(session)
child = os.fork()
if not child:
    try:
        alone = outcome(session)
        tasks = len(os.listdir("/proc/self/task"))
        session._library.call("chm_bundle_set_threads", session._bundle, 3)
        more = len(os.listdir("/proc/self/task"))
        again = outcome(session)
        session.close()
        same = before == alone == again
        os._exit(0 if same and (tasks, more) == (1, 3) else 1)
    except BaseException:
        os._exit(2)
pid, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
assert outcome(session) == before
session.close()
child = os.fork()
if not child:
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print(repr(before))
"""
    assert run_python(program, str(toy.folder)).strip() == repr(expected)


def test_a_child_may_close_what_it_inherited(toy: Any) -> None:
    program = """
session = load(sys.argv[1], threads=3)
child = os.fork()
if not child:
    session.close()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
session.close()
"""
    run_python(program, str(toy.folder))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs sched_setaffinity")
def test_one_core(toy: Any, expected: Outcome) -> None:
    program = """
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
with load(sys.argv[1], threads=0) as session:
    assert session.threads == 1
with load(sys.argv[1], threads=4) as session:
    print(repr(outcome(session)))
"""
    assert run_python(program, str(toy.folder)).strip() == repr(expected)


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS")
def test_threads_that_cannot_be_started(toy: Any, expected: Outcome) -> None:
    program = """
import resource
session = load(sys.argv[1])
used = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 20), resource.RLIM_INFINITY))
try:
    session._library.call("chm_bundle_set_threads", session._bundle, 60)
    raise SystemExit("60 stacks in 4 MiB")
except BundleError as error:
    assert error.code == "CHM422", error
    assert "60 threads cannot be started" in error.message, error
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert session.threads == 1
assert len(os.listdir("/proc/self/task")) == 1
print(repr(outcome(session)))
"""
    assert run_python(program, str(toy.folder)).strip() == repr(expected)


@pytest.fixture(scope="module")
def sanitized(
    toy: Any, compile_native: Callable[..., Path], toy_flags: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., list[str]]:
    """sanitized(*words): the lines that threads_driver.c prints, compiled with the thread sanitizer."""
    sources = [NATIVE_TESTS / "threads_driver.c", NATIVE_TESTS / "toy_model.c"]
    sources += [bf.NATIVE_DIRECTORY / name for name in bf.POSIX_SOURCES]
    flags = ["-fsanitize=thread", "-g", "-O1", *toy_flags]
    program = compile_native(tmp_path_factory.mktemp("threads") / "threads", sources, *flags)
    files = [str(toy.file(role)) for role in ("weights", "tokenizer")]
    # some kernels randomise addresses more than the sanitizer can take
    command = ["setarch", "--addr-no-randomize", str(program), *files]
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1 exitcode=66"}

    def run(*words: str) -> list[str]:
        done = subprocess.run(
            [*command, *words], capture_output=True, text=True, timeout=120, check=False, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


@pytest.mark.slow
def test_no_data_races(sanitized: Callable[..., list[str]]) -> None:
    """Two sessions in two threads with pools of every size."""
    lines = sanitized()
    assert len(lines) == 6
    assert len(set(" ".join(lines).split())) == 1, "the same logits whatever the number of threads"


def test_one_session_called_by_several_threads(sanitized: Callable[..., list[str]]) -> None:
    """In C: every call is done or refused with CHM421, none races, and the session computes what it did before."""
    done, refused = map(int, sanitized("crowd")[0].split())
    assert 4 * 400 * 8 // 9 <= done + refused <= 4 * 400 * 8 // 9 + 4, "of nine kinds of calls one has no answer"
    assert done > 0


def test_calls_from_within_a_call_are_refused(sanitized: Callable[..., list[str]]) -> None:
    assert sanitized("within") == [f"421 421 421 {len('hello') + 1}"]


def test_kernels_that_follow_others(sanitized: Callable[..., list[str]]) -> None:
    """In C: parts of chains are computed once, after what they need, whoever computes them."""
    assert sanitized("chains") == ["0 of 1000"]
