"""Sessions used wrongly: two generations, two threads, calls within calls, closing meanwhile; sessions that share."""

from __future__ import annotations

import gc
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from chimerac.runtime import BundleError, Session, load
from chimerac.runtime.sessions.native import NativeSession

OPTIONS: dict[str, Any] = {"max_tokens": 12, "temperature": 1.3, "seed": 3}
LONG = [token % 288 for token in range(40_000)]
Open = Callable[[], Session]


@pytest.fixture
def session(any_session: Session) -> Session:
    return any_session


@pytest.fixture(scope="module")
def expected(toy: Any) -> str:
    with load(toy.folder) as session:
        return said(session)


def said(session: Session, **options: Any) -> str:
    return "".join(map(str, session.generate("hello", **{**OPTIONS, **options})))


def refused(call: Callable[[], object], code: str = "CHM421") -> str:
    with pytest.raises(BundleError) as caught:
        call()
    assert caught.value.code == code, caught.value
    return caught.value.message


# ---- one generation at a time ----


def test_the_second_of_two_generations_is_refused_and_the_first_goes_on(session: Session, expected: str) -> None:
    first, second = session.generate("hello", **OPTIONS), session.generate("other", **OPTIONS)
    text = str(next(first))
    assert "another generation" in refused(lambda: next(second))
    for change in (lambda: session.prefill([1]), session.reset, lambda: session.restore(b"")):
        refused(change)
    assert text + "".join(map(str, first)) == expected
    assert len(list(second)) > 0, "it was only refused, and may begin now"
    assert list(first) == []


def abandon_by_break(session: Session) -> None:
    for _ in session.generate("hello", **OPTIONS):
        break


def abandon_by_error(session: Session) -> None:
    def consume() -> None:
        for piece in session.generate("hello", **OPTIONS):
            raise LookupError(piece.text)

    with pytest.raises(LookupError):
        consume()


def abandon_in_a_circle(session: Session) -> None:
    circle: list[Any] = [session.generate("hello", **OPTIONS)]
    circle.append(circle)
    next(circle[0])
    del circle
    gc.collect()


def abandon_by_close(session: Session) -> None:
    pieces = session.generate("hello", **OPTIONS)
    next(pieces)
    pieces.close()
    pieces.close()
    assert list(pieces) == []
    session.generate("hello", **OPTIONS).close()  # before it has begun


def abandon_by_failing(session: Session) -> None:
    refused(lambda: list(session.generate([], **OPTIONS)))  # nothing to continue


@pytest.mark.parametrize(
    "abandon", [abandon_by_break, abandon_by_error, abandon_in_a_circle, abandon_by_close, abandon_by_failing]
)
def test_an_abandoned_generation_frees_the_session(
    abandon: Callable[[Session], None], session: Session, expected: str
) -> None:
    for _ in range(2):
        abandon(session)
        assert session.finish_reason is None
        assert said(session) == expected


# ---- calls within calls, and closing ----


def test_a_call_within_a_call_is_refused(session: Session, expected: str) -> None:
    messages: list[str] = []

    def on_progress(done: int, total: int) -> None:
        calls: list[Callable[[], object]] = [
            session.state_hash,
            session.reset,
            session.close,
            lambda: session.encode("a"),
        ]
        calls += [lambda: session.position, lambda: list(session.generate("x", **OPTIONS))]
        messages.extend(refused(call) for call in calls)

    session.prefill(LONG[:3000], on_progress=on_progress)
    assert len(messages) >= 6
    assert session.position == 3000
    assert said(session) == expected


def test_a_closed_session_says_so(session: Session) -> None:
    pieces = session.generate("hello", **OPTIONS)
    next(pieces)
    session.close()
    session.close()
    assert session.tokens()
    calls: list[Callable[[], object]] = [
        session.reset,
        session.logits,
        session.snapshot,
        session.state_hash,
        lambda: session.encode("a"),
    ]
    calls += [lambda: session.prefill([1]), lambda: session.position, lambda: session.threads, lambda: next(pieces)]
    assert {refused(call) for call in calls} == {"the session is closed"}
    pieces.close()


def test_closing_ends_the_call_of_another_thread(session: Session) -> None:
    begun, found = threading.Event(), []

    def work() -> None:
        try:
            while True:
                session.prefill(LONG, on_progress=lambda done, total: begun.set())
        except BundleError as error:
            found.append((error.code, error.message))

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(60)
    session.close()
    refused(lambda: session.prefill([1]))
    thread.join(60)
    assert found == [("CHM421", "the session is closed")]


def test_threads_that_use_one_session(open_session: Open, expected: str) -> None:
    """Each text is whole and right, or refused; the session is closed in the middle of it."""
    session = open_session()
    texts: list[str] = []
    codes: list[str] = []
    enough = threading.Event()

    def work() -> None:
        while True:
            try:
                texts.append(said(session))
                if len(texts) > 8:
                    enough.set()
            except BundleError as error:
                codes.append(error.code)
                if error.message == "the session is closed":
                    return

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert enough.wait(120)
    session.close()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert set(texts) == {expected}
    assert set(codes) == {"CHM421"}


def test_one_generation_used_by_several_threads(session: Session, expected: str) -> None:
    pieces = session.generate("hello", **OPTIONS)
    texts: list[str] = []
    codes: set[str] = {"CHM421"}

    def work() -> None:
        while True:
            try:
                texts.append(next(pieces).text)
            except StopIteration:
                return
            except BundleError as error:
                codes.add(error.code)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted("".join(texts)) == sorted(expected)
    assert codes == {"CHM421"}


def test_a_fork_in_the_middle_of_a_call(toy: Any) -> None:
    """The child has no thread that could end the call: it is told so in place of waiting for ever."""
    session = load(toy.folder)

    def fork(done: int, total: int) -> None:
        found.append(os.fork())
        if not found[-1]:
            try:
                codes = [_code(session.close), _code(lambda: session.position)]
                os._exit(0 if codes == ["CHM421", "CHM421"] else 1)
            finally:
                os._exit(2)

    found: list[int] = []
    session.prefill([1, 2, 3], on_progress=fork)
    assert os.waitstatus_to_exitcode(os.waitpid(found[0], 0)[1]) == 0
    session.close()


def _code(call: Callable[[], object]) -> str | None:
    try:
        call()
    except BundleError as error:
        return error.code
    return None


# ---- sessions of one bundle ----


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_sessions_of_a_bundle_share_one_mapping(toy: Any, expected: str, tmp_path: Path) -> None:
    folder = shutil.copytree(toy.folder, tmp_path / "bundle")  # of which nobody else has a session
    weights = str(folder / toy.file("weights").name)

    def mappings() -> int:
        return Path("/proc/self/maps").read_text().count(weights)

    with ExitStack() as stack:
        sessions = [stack.enter_context(load(folder)) for _ in range(16)]
        assert mappings() == 1
        assert [said(session) for session in sessions] == [expected] * 16
        sessions[0].close()
        assert said(sessions[1]) == expected
        with load(folder, threads=3) as other:
            assert (other.threads, sessions[1].threads) == (3, 1)
            assert mappings() == 2
    assert mappings() == 0


def test_a_bundle_that_was_replaced_is_opened_anew(toy: Any, tmp_path: Path) -> None:
    weights = tmp_path / "w.b158"
    weights.write_bytes(toy.file("weights").read_bytes())
    code, tokenizer = toy.file("code"), toy.file("tokenizer")

    def opened() -> NativeSession:
        return NativeSession(toy.manifest, code, weights, tokenizer)

    with opened() as first, opened() as second:
        assert first._bundle is second._bundle
        replacement = tmp_path / "new"
        replacement.write_bytes(weights.read_bytes())
        os.replace(replacement, weights)
        with opened() as third:
            assert third._bundle is not first._bundle
            assert said(third) == said(first)


def test_checksums_of_a_large_file_are_compared_in_pieces(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chimerac.runtime.sessions.native_bundle.LARGE", 0)
    monkeypatch.setattr("chimerac.runtime.sessions.native_bundle._PIECE", 100)
    folder = tmp_path / "toy"
    shutil.copytree(toy.folder, folder)
    with load(folder, verify=False) as session, load(toy.folder) as other:
        assert said(session) == said(other)
    weights = folder / toy.file("weights").name
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert refused(lambda: load(folder, verify=False), "CHM406") == "section initial is damaged"
