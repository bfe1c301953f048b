"""Signals in the middle of long calls: they end soon, counted in tokens, and the session goes on from what was run."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import numpy as np
import pytest

from chimerac.runtime import Session, load
from chimerac.runtime.sessions.guard import Guard
from chimerac.runtime.sessions.native import NativeSession
from chimerac.runtime.sessions.slices import AIM, ALIGNMENT, LEAST, Slices

OPTIONS: dict[str, Any] = {"max_tokens": 12, "temperature": 1.3, "seed": 3, "repetition_penalty": 1.2}
LONG = [int(token) for token in np.random.default_rng(0).integers(0, 256, 60_000)]


@pytest.fixture
def session(any_session: Session) -> Session:
    return any_session


def interrupt(done: int, total: int) -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def whole(toy: Any) -> tuple[str, list[int]]:
    """Hash of the state after the whole prompt, and the tokens that follow; nothing was cut but by the C runtime."""
    tokens = np.array(LONG, np.int32)
    with load(toy.folder) as session:
        assert isinstance(session, NativeSession)
        session.invoke("chm_session_prefill", tokens.ctypes.data, len(tokens))
        state = session.state_hash()
        list(session.generate([], reset=False, **OPTIONS))
        return state, session.tokens()


def test_slices_change_no_bits(session: Session, whole: tuple[str, list[int]]) -> None:
    told: list[tuple[int, int]] = []
    list(session.generate(LONG, on_progress=lambda done, total: told.append((done, total)), **OPTIONS))
    assert session.tokens() == whole[1]
    assert told[-1] == (len(LONG), len(LONG))
    assert [total for _, total in told] == [len(LONG)] * len(told)
    assert sorted(done for done, _ in told) == [done for done, _ in told]
    assert len(told) > 3
    session.reset()
    session.prefill(LONG)
    assert session.state_hash() == whole[0]


def test_an_interrupted_prompt_goes_on_where_it_was_left(session: Session, whole: tuple[str, list[int]]) -> None:
    list(session.generate("hello", **OPTIONS))
    expected = session.tokens()
    session.reset()
    times = 0
    while session.position < len(LONG):
        before = session.position
        stop = interrupt if times < 3 else None
        try:
            session.prefill(LONG[before:], on_progress=stop)
        except KeyboardInterrupt:
            times += 1
            assert before < session.position <= len(LONG)
    assert times > 0
    assert session.state_hash() == whole[0]
    list(session.generate([], reset=False, **OPTIONS))
    assert session.tokens() == whole[1], "the history of the penalty is whole, too"
    list(session.generate("hello", **OPTIONS))
    assert session.tokens() == expected


def test_an_interrupted_generation_leaves_the_session_free(session: Session) -> None:
    list(session.generate("hello", **OPTIONS))
    expected = session.tokens()
    for prompt in (LONG, bytes(LONG)):
        with pytest.raises(KeyboardInterrupt):
            list(session.generate(prompt, on_progress=interrupt, **OPTIONS))
        assert session.finish_reason is None
        assert session.tokens() == []
        list(session.generate("hello", **OPTIONS))
        assert session.tokens() == expected


def test_a_signal_ends_a_prompt_long_before_its_end(toy: Any) -> None:
    """Where the tokens are counted in this process: of 60,000 less than a slice more were run."""
    with load(toy.folder) as session:
        with pytest.raises(KeyboardInterrupt):
            session.prefill(LONG, on_progress=interrupt)
        assert session.position <= ALIGNMENT


@pytest.mark.parametrize("then", ["goes on", "closes"])
def test_a_signal_need_not_wait_for_a_slice_that_is_long(
    then: str, toy: Any, whole: tuple[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a model that takes long for the fewest tokens of a call: it ends behind the exception, and is waited for."""
    go_on, calls = threading.Event(), []

    def slow(tokens: Any, *, more: bool) -> None:
        calls.append(len(tokens))
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        assert go_on.wait(60)
        run(tokens, more=more)

    with load(toy.folder) as opened:
        assert isinstance(opened, NativeSession)
        run = opened._run_slice
        monkeypatch.setattr(opened, "_slices", Slices(1 << 40))
        with monkeypatch.context() as patch:
            patch.setattr(opened, "_run_slice", slow)
            with pytest.raises(KeyboardInterrupt):
                opened.prefill(LONG)
        assert calls == [LEAST]
        threading.Timer(0.05, go_on.set).start()
        if then == "goes on":
            assert opened.position == LEAST
            opened.prefill(LONG[LEAST:])
            assert opened.state_hash() == whole[0]
    assert go_on.is_set()


def test_a_part_that_runs_aside_raises_what_it_raises() -> None:
    guard, threads = Guard(), []

    def fail() -> None:
        threads.append(threading.current_thread())
        raise LookupError

    for _ in range(2):
        with pytest.raises(LookupError):
            guard.aside(fail)
        with guard.call():
            pass
    other = threading.Thread(target=lambda: guard.aside(lambda: threads.append(threading.current_thread())))
    other.start()
    other.join()
    assert threads[-1] is other, "no signal comes to other threads than the main one"
    assert threading.main_thread() not in threads


def test_errors_of_the_listener_are_its_own(session: Session) -> None:
    def fail(done: int, total: int) -> None:
        raise LookupError

    for call in (
        lambda: session.prefill(LONG, on_progress=fail),
        lambda: list(session.generate(LONG, on_progress=fail)),
    ):
        with pytest.raises(LookupError):
            call()
    assert len(list(session.generate("hello", **OPTIONS))) == 12


def test_a_signal_at_any_moment(session: Session) -> None:
    """Some of them hit the middle of a line to or from another process; every time the session is right afterwards."""
    list(session.generate("hello", **OPTIONS))
    expected = session.tokens()
    position = session.position
    for delay in np.linspace(0.0005, 0.02, 25):
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, float(delay))
            for _ in range(200):
                list(session.generate("hello" * 40, **OPTIONS))
                session.snapshot()
        except KeyboardInterrupt:
            pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        list(session.generate("hello", **OPTIONS))
        assert session.tokens() == expected
        assert session.position == position


# ---- how long slices are ----


@pytest.mark.parametrize("seconds", [1e-7, 1e-4, 0.004, 0.4])
def test_slices_take_what_they_aim_at(seconds: float) -> None:
    """With a model whose tokens take this long; the first slice is a guess, and a block is not cut."""
    slices, position, left = Slices(1 << 20), 7, 500_000
    times: list[float] = []
    while left and len(times) < 200:
        count = slices.next(position, left)
        assert 1 <= count <= left
        slices.took(count, seconds * count)
        position, left = position + count, left - count
        times.append(seconds * count)
    assert max(times[1:]) <= max(1.01 * AIM, LEAST * seconds)
    assert np.median(times) >= min(AIM / 3, seconds * 4096 * 0.9) or seconds >= AIM


@pytest.mark.parametrize("of_text", [0.0, 0.01, 1.0])
def test_a_slice_takes_at_most_twice_its_aim(of_text: float) -> None:
    """Where a token's time grows with the text before it, from its begin or, restored, from far into it."""

    def seconds(position: int, count: int) -> float:
        return sum(1e-6 + of_text * 1e-6 * place for place in range(position, position + count))

    slices = Slices(1 << 20)
    for start, end in ((0, 2000), (100_000, 103_000), (0, 30_000), (1000, 5000)):
        position = start
        while position < end:
            count = slices.next(position, 1 << 20)
            took = seconds(position, count)
            assert count == LEAST or took <= 2.1 * AIM, (position, count)
            slices.took(count, took)
            position += count


def test_slices_end_at_multiples_of_blocks() -> None:
    slices, position = Slices(1), 5
    for _ in range(20):
        count = slices.next(position, 1 << 20)
        slices.took(count, 1e-5 * count)
        position += count
        assert position % ALIGNMENT == 0


def test_a_large_model_begins_with_few_tokens() -> None:
    assert [Slices(size).next(0, 1000) for size in (0, 30 << 20, 64 << 20, 1 << 30, 1 << 40)] == [64, 64, 32, 16, 16]


def test_tokens_of_a_large_model_are_run_in_whole_blocks() -> None:
    """A block of it takes as long as a token: slices of one token would never show that they cost less together."""
    slices, position, calls = Slices(1 << 30), 3, 0
    while position < 1000:
        count = slices.next(position, 1000 - position)
        slices.took(count, 2 * AIM * (1 + count / 100))
        position, calls = position + count, calls + 1
        assert position % LEAST == 0 or position == 1000
    assert calls <= 1000 // LEAST + 1


def test_a_slow_moment_does_not_last() -> None:
    slices: Slices = Slices(1)
    counts: list[int] = []
    for step in range(30):
        counts.append(slices.next(0, 1 << 20))
        slices.took(counts[-1], (1.0 if step == 5 else 1e-4) * counts[-1])
    assert counts[6] == LEAST
    assert counts[-1] >= 256
