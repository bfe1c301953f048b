"""Profiles of a native bundle: every moment of the model's time belongs to a step, and results stay the same."""

from __future__ import annotations

import ctypes as ct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from project import NATIVE_TESTS

from chimerac.runtime import BundleError, load
from chimerac.runtime import bundle_format as bf
from chimerac.runtime.sessions.native import NativeSession
from chimerac.runtime.sessions.native_library import NativeLibrary
from chimerac.runtime.sessions.profile import Step

#: What native/toy_model.c says of itself.
STEPS = [("cell", "recurrence", 2 * 8 * 8 * 4), ("head", "linear", 8 * 288 * 4)]
TICK = 1000
CLOCK = f"""
#include <time.h>
static long long now;
int ticking_clock(clockid_t clock, struct timespec *time) {{
  long long read = __atomic_add_fetch(&now, {TICK}, __ATOMIC_RELAXED);
  (void)clock;
  time->tv_sec = read / 1000000000, time->tv_nsec = read % 1000000000;
  return 0;
}}
"""


@pytest.fixture(scope="module")
def ticking(
    compile_native: Callable[..., Path],
    make_toy_bundle: Callable[..., Any],
    toy_flags: list[str],
    native_target: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[NativeSession]:
    """A session of the toy model with a clock that goes on by a tick whenever it is read."""
    folder = tmp_path_factory.mktemp("ticking")
    (folder / "clock.c").write_text(CLOCK)
    sources = [folder / "clock.c", NATIVE_TESTS / "toy_model.c"]
    sources += [bf.NATIVE_DIRECTORY / name for name in bf.POSIX_SOURCES]
    flags = ("-D_POSIX_C_SOURCE=200809L", "-Dclock_gettime=ticking_clock", "-shared", "-fPIC", *toy_flags)
    code = compile_native(folder / "libchimera.so", sources, *flags)
    with load(make_toy_bundle(folder / "bundle", code, native_target).folder) as session:
        assert isinstance(session, NativeSession)
        yield session


def nanoseconds(steps: list[Step]) -> list[int]:
    return [step.nanoseconds for step in steps]


def test_steps_of_a_library(toy: Any) -> None:
    library = NativeLibrary(toy.file("code"))
    count = library.get("chm_profile_steps")
    found = [
        (
            library.get("chm_profile_part", i),
            library.get("chm_profile_op", i),
            library.get("chm_profile_weight_bytes", i),
        )
        for i in range(count)
    ]
    assert found == [(part.encode(), op.encode(), size) for part, op, size in STEPS]
    for outside in (-1, count, 2**31 - 1):
        assert library.get("chm_profile_part", outside) is None
        assert library.get("chm_profile_op", outside) is None
        assert library.get("chm_profile_weight_bytes", outside) == 0


def test_all_time_between_the_first_step_and_the_end_of_a_call_belongs_to_a_step(ticking: NativeSession) -> None:
    ticking.reset()
    with ticking.profile() as profile:
        assert [(s.part, s.op, s.weight_bytes, s.nanoseconds) for s in profile.steps()] == [(*s, 0) for s in STEPS]
        ticking.prefill([1])
        assert nanoseconds(profile.steps()) == [TICK, TICK]
        ticking.prefill([2])
        assert nanoseconds(profile.steps()) == [2 * TICK, 2 * TICK]
        ticking.prefill(list(range(30)))  # 14 tokens to the end of the block, then 16
        assert nanoseconds(profile.steps()) == [4 * TICK, 3 * TICK], "one head for both"
        profile.clear()
        assert nanoseconds(profile.steps()) == [0, 0]
        for _ in ticking.generate("text", max_tokens=3, reset=False):
            pass
        assert profile.steps()[0].nanoseconds >= TICK
    seen = nanoseconds(profile.steps())
    ticking.prefill([3])
    assert nanoseconds(profile.steps()) == seen, "nothing is measured after the end"


@pytest.mark.parametrize(
    "ask",
    [
        lambda session: session.logits(),
        lambda session: session.logits_hash(),
        lambda session: session.snapshot(),
        lambda session: next(session.generate([], reset=False, max_tokens=1)),
        lambda session: session.prefill([]),
    ],
    ids=["logits", "hash", "snapshot", "generate", "prefill"],
)
@pytest.mark.parametrize("count", [1, 5, 16, 40])
def test_logits_of_a_part_of_a_prompt_are_left_out_until_somebody_asks(
    ticking: NativeSession, ask: Callable[[NativeSession], object], count: int
) -> None:
    tokens = np.arange(count, dtype=np.int32)
    ticking.reset()
    ticking.prefill(tokens.tolist())
    expected, hashed = ticking.logits(), ticking.logits_hash()
    ticking.reset()
    with ticking.profile() as profile:
        ticking.invoke("chm_session_prefill_part", tokens.ctypes.data, count)
        calls = -(-count // 16)
        assert nanoseconds(profile.steps()) == [calls * TICK, 0]
        ask(ticking)
        assert nanoseconds(profile.steps()) == [calls * TICK, TICK]
        assert expected is not None
        assert np.array_equal(np.asarray(ticking.logits()), expected)
        assert nanoseconds(profile.steps())[1] == TICK, "once"
    if not ticking.tokens():
        assert ticking.logits_hash() == hashed


def test_what_comes_after_a_part_forgets_its_logits(ticking: NativeSession) -> None:
    tokens = np.arange(5, dtype=np.int32)
    before = ticking.snapshot()
    for change in (ticking.reset, lambda: ticking.restore(before)):
        change()
        expected = ticking.logits_hash()
        ticking.invoke("chm_session_prefill_part", tokens.ctypes.data, 5)
        change()
        assert ticking.logits_hash() == expected


def test_a_second_profile_takes_over(ticking: NativeSession) -> None:
    ticking.reset()  # a test before may have left a token that is said and not run
    with ticking.profile() as first, ticking.profile() as second:
        ticking.prefill([1])
    assert nanoseconds(first.steps()) == [0, 0]
    assert nanoseconds(second.steps()) == [TICK, TICK]


def test_a_session_may_be_closed_within_a_profile(toy: Any) -> None:
    session = load(toy.folder)
    assert isinstance(session, NativeSession)
    with session.profile() as profile:
        session.prefill([1])
        session.close()
    assert len(profile.steps()) == 2


@pytest.mark.parametrize("threads", [1, 3])
def test_results_do_not_depend_on_being_measured(toy: Any, threads: int) -> None:
    def outcome(session: NativeSession) -> tuple[list[int], str, str]:
        for _ in session.generate("turn off the light", max_tokens=20, temperature=1.1, loops=3):
            pass
        return session.tokens(), session.logits_hash(), session.state_hash()

    with load(toy.folder, threads=threads) as session:
        assert isinstance(session, NativeSession)
        expected = outcome(session)
        with session.profile() as profile:
            assert outcome(session) == expected
        assert min(nanoseconds(profile.steps())) > 0
        assert outcome(session) == expected


def test_misuse_is_refused(toy: Any) -> None:
    with load(toy.folder) as session:
        assert isinstance(session, NativeSession)
        times = (ct.c_int64 * 3)()
        for count in (0, 1, 3):
            with pytest.raises(BundleError, match=f"room for {count} steps, the model has 2") as caught:
                session.invoke("chm_session_profile", times, count)
            assert caught.value.code == "CHM420"
        library = session.library
    with pytest.raises(BundleError, match="the session is NULL"):
        library.call("chm_session_profile", None, times, 2)
    with pytest.raises(BundleError, match="closed") as caught, session.profile():
        pass
    assert caught.value.code == "CHM421"


def test_a_library_that_cannot_measure_says_so(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with load(toy.folder) as session:
        assert isinstance(session, NativeSession)
        assert session.measures
        monkeypatch.setattr(session.library, "measures", False)
        with pytest.raises(BundleError, match="cannot measure itself") as caught, session.profile():
            pass
        assert caught.value.code == "CHM421"


def test_wasm_modules_have_no_clock() -> None:
    native, wasm = (set(bf.exported_functions(wasm=wasm)) for wasm in (False, True))
    measuring = {name for name in native if name.startswith(("chm_profile", "chm_measure", "chm_session_profile"))}
    assert len(measuring) == 6
    assert not measuring & wasm


# ---- how fast memory is read ----


def aligned(size: int) -> tuple[Any, int]:
    """A block and the first address in it that is a multiple of 64."""
    block = ct.create_string_buffer(size + 64)
    return block, -(-ct.addressof(block) // 64) * 64


@pytest.mark.parametrize("streams", range(1, 9))
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads_and_streams_reads(toy: Any, threads: int, streams: int) -> None:
    library, found = NativeLibrary(toy.file("code")), ct.c_int64()
    block, address = aligned(1 << 20)
    library.call("chm_measure_reading", address, 1 << 20, threads, streams, ct.byref(found))
    assert found.value > 0
    del block


def test_reading_with_a_ticking_clock_takes_one_tick(ticking: NativeSession) -> None:
    found = ct.c_int64()
    block, address = aligned(1 << 16)
    ticking.library.call("chm_measure_reading", address, 1 << 16, 2, 8, ct.byref(found))
    assert found.value == TICK
    del block


@pytest.mark.parametrize(
    ("shift", "size", "threads", "streams", "message"),
    [
        (0, 1 << 16, 0, 1, "0 threads"),
        (0, 1 << 16, 65, 1, "65 threads"),
        (0, 1 << 16, 1, 0, "0 streams"),
        (0, 1 << 16, 1, 9, "9 streams"),
        (0, 0, 1, 1, "too small"),
        (0, 8 * 128 * 2 - 1, 2, 8, "too small"),
        (8, 1 << 15, 1, 1, "aligned to 32 bytes"),
    ],
)
def test_what_cannot_be_read_is_refused(
    toy: Any, shift: int, size: int, threads: int, streams: int, message: str
) -> None:
    library, found = NativeLibrary(toy.file("code")), ct.c_int64()
    block, address = aligned(1 << 16)
    with pytest.raises(BundleError, match=message) as caught:
        library.call("chm_measure_reading", address + shift, size, threads, streams, ct.byref(found))
    assert caught.value.code == "CHM420"
    for values in ((None, size, 1, 1, ct.byref(found)), (address, size, 1, 1, None)):
        with pytest.raises(BundleError, match="NULL"):
            library.call("chm_measure_reading", *values)
    del block
