"""Sections that threads make ahead: the same file, in order, with a limit, and errors where they are asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from chimerac.compiler.packaging import ahead
from chimerac.compiler.packaging.ahead import made_ahead
from chimerac.runtime.bundle_format import KIND_WEIGHTS, Section, array_section, write_container

Make = Callable[[], list[np.ndarray]]


def section(name: str, make: Make, size: int = 8) -> Section:
    return Section(name, "U8", (size,), make)


def test_the_same_file(tmp_path: Path) -> None:
    def make(index: int) -> Make:
        def pieces() -> list[np.ndarray]:
            time.sleep(0.002 * (7 - index % 8))  # later ones are ready first
            return [np.full(3, index, np.uint8), np.full(5, 100 + index, np.uint8)]

        return pieces

    sections = [section(f"s{i}", make(i)) for i in range(20)]
    sections[5:5] = [array_section("plain", np.arange(9, dtype=np.float32))]
    write_container(tmp_path / "one", KIND_WEIGHTS, sections)
    with made_ahead(sections) as ready:
        write_container(tmp_path / "two", KIND_WEIGHTS, ready)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_two_sections_of_one_computation() -> None:
    lock, kept = threading.Lock(), dict[str, np.ndarray]()

    def make(name: str) -> Make:
        def pieces() -> list[np.ndarray]:
            with lock:
                if name not in kept:
                    kept.update({"a": np.zeros(8, np.uint8), "b": np.ones(8, np.uint8)})
                return [kept.pop(name)]

        return pieces

    with made_ahead([section("a", make("a")), section("b", make("b"))]) as ready:
        assert [s.raw() for s in ready] == [bytes(8), b"\1" * 8]


def test_no_more_waits_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "MOST_WAITING", 25)  # three sections of 8 bytes
    begun: list[str] = []

    def make(name: str) -> Make:
        def pieces() -> list[np.ndarray]:
            begun.append(name)
            return [np.zeros(8, np.uint8)]

        return pieces

    names = [f"s{i}" for i in range(10)]
    with made_ahead([section(name, make(name)) for name in names]) as ready:
        for index, one in enumerate(ready):
            one.raw()
            assert len(begun) <= index + 4
    assert sorted(begun) == names


def test_a_section_larger_than_all_that_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "MOST_WAITING", 4)
    with made_ahead([section("a", lambda: [np.ones(8, np.uint8)])] * 2) as ready:
        assert [s.raw() for s in ready] == [b"\1" * 8] * 2


def test_errors_come_where_the_section_is_asked_for() -> None:
    def fail() -> list[np.ndarray]:
        raise ValueError("no such weight")

    with made_ahead([section("a", lambda: [np.zeros(8, np.uint8)]), section("b", fail)]) as ready:
        assert ready[0].raw() == bytes(8)
        with pytest.raises(ValueError, match="no such weight"):
            ready[1].raw()


def test_sections_out_of_order() -> None:
    with (
        made_ahead([section(name, lambda: [np.zeros(8, np.uint8)]) for name in "ab"]) as ready,
        pytest.raises(AssertionError, match="b is asked for when it is the turn of a"),
    ):
        ready[1].raw()
