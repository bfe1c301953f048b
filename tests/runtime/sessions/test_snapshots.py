"""Snapshots of the toy model: natively, in Node and in the runner they are the same bytes, and each reads all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from snapshots import changed, with_number

from chimerac.runtime import BundleError, load
from chimerac.runtime import bundle_format as bf
from chimerac.runtime.bundle_format.state import StateForm, parse_state, state_bytes
from chimerac.runtime.sessions.interface import Session
from chimerac.runtime.sessions.runner import RunnerSession

TOKENS = [int(token) for token in np.random.default_rng(0).integers(0, 256, 75)]
VOCABULARY = 288
OPTIONS: dict[str, Any] = {"temperature": 1.0, "repetition_penalty": 1.4, "seed": 3}


@pytest.fixture
def sessions(toy: Any, wasm_toy: Any, runner: Path) -> Iterator[dict[str, Session]]:
    opened: dict[str, Session] = {
        "native": load(toy.folder),
        "runner": RunnerSession(toy.manifest, runner, "/usr/bin/env"),
    }
    if shutil.which("node") is not None:
        opened["wasm"] = load(wasm_toy.folder)
    yield opened
    for session in opened.values():
        session.close()


@pytest.fixture
def form(toy: Any) -> StateForm:
    """Of the toy model, whose C names no config."""
    shapes = {"looped": (4, 8), "trace": (8,)}
    return StateForm("", toy.manifest.weights_sha256, VOCABULARY, 4, shapes)


def ends(session: Session) -> list[object]:
    """What comes after the present."""
    list(session.generate([], max_tokens=20, reset=False, **OPTIONS))
    return [session.tokens(), session.finish_reason, session.state_hash(), session.logits_hash(), session.position]


def at_several_places(session: Session) -> list[bytes]:
    """Snapshots at the start, in the middle of a prompt, of deeper loops, of a character, and at the end."""
    taken = [session.snapshot()]
    session.prefill(TOKENS[:21])
    taken.append(session.snapshot())
    for loops in (1, 3):
        list(session.generate([5], max_tokens=7, loops=loops, reset=False, **OPTIONS))
        taken.append(session.snapshot())
    session.prefill(TOKENS * 5)  # the window of the penalty goes around
    list(session.generate([], max_tokens=3, reset=False, **OPTIONS))
    taken.append(session.snapshot())
    return taken


def test_all_runtimes_write_the_same_bytes(sessions: dict[str, Session], form: StateForm) -> None:
    expected = at_several_places(sessions["native"])
    for session in sessions.values():
        session.reset()
        assert at_several_places(session) == expected
    for snapshot in expected:
        assert state_bytes(form, parse_state(form, snapshot)) == snapshot
    assert len({len(snapshot) for snapshot in expected}) == 1


def test_what_one_wrote_the_others_continue(sessions: dict[str, Session]) -> None:
    session = sessions["native"]
    for snapshot in at_several_places(session)[1:]:
        session.restore(snapshot)
        expected = ends(session)
        for other in sessions.values():
            other.reset()
            other.restore(snapshot)
            assert other.snapshot() == snapshot
            assert ends(other) == expected


def test_the_start_of_a_character_is_kept(sessions: dict[str, Session]) -> None:
    """Byte by byte: the first two of a character, then a snapshot in the middle of it."""
    session = sessions["native"]
    for seed in range(400):
        pieces = session.generate("hello", max_tokens=12, temperature=2.0, seed=seed)
        for _ in range(6):
            next(pieces)
        snapshot = session.snapshot()
        rest = "".join(map(str, pieces))
        if bf.parse_container(snapshot).array("sequence")[7]:
            break
    assert bf.parse_container(snapshot).array("sequence")[7], "no seed of these ends inside of a character"
    options: dict[str, Any] = {"max_tokens": 6, "temperature": 2.0, "seed": seed, "reset": False}
    for other in sessions.values():
        other.restore(snapshot)
        assert "".join(map(str, other.generate([], **options))) == rest


def test_a_snapshot_of_the_start_brings_the_initial_state(sessions: dict[str, Session]) -> None:
    """It holds zeros: the initial states are the model's."""
    session = sessions["native"]
    session.prefill(TOKENS[:5])
    expected = session.snapshot()
    session.reset()
    start = session.snapshot()
    assert not bf.parse_container(start).array("state.looped").any()
    session.prefill(TOKENS)
    session.restore(changed(start, {"state.looped": np.ones((4, 8), np.float32)}))
    assert session.snapshot() == start
    session.prefill(TOKENS[:5])
    assert session.snapshot() == expected


def forged(snapshot: bytes) -> dict[str, tuple[str, bytes]]:
    """Name → status and bytes, all with valid checksums."""
    number = {
        "position": (0, -1), "no position": (0, 0), "deepest": (1, 5), "no depth": (1, 0), "iterations": (2, 5),
        "finished": (3, 2), "remaining": (4, -1), "history": (5, 257), "no history": (5, -1), "pending": (6, 17),
        "less than no pending": (6, -1), "text": (7, 4), "no text": (7, -1),
    }  # fmt: skip
    container = bf.parse_container(snapshot)
    held = with_number(snapshot, "sequence", 7, 1)
    return {
        **{name: ("CHM420", with_number(snapshot, "sequence", *change)) for name, change in number.items()},
        "token of the history": ("CHM420", with_number(snapshot, "sequence.history", 3, VOCABULARY)),
        "pending token": ("CHM420", with_number(snapshot, "sequence.pending", 0, -1)),
        "text that is no start": ("CHM420", with_number(held, "sequence.text", 0, 65)),
        "other config": ("CHM407", changed(snapshot, metadata={bf.KEY_CONFIG: "cd" * 32})),
        "other weights": ("CHM407", changed(snapshot, metadata={bf.KEY_MODEL: "cd" * 32})),
        "other kind": ("CHM405", changed(snapshot, kind="b158")),
        "next version": ("CHM405", snapshot.replace(b'"chimera.abi":"1.0"', b'"chimera.abi":"2.0"')),
        "unknown section": ("CHM405", changed(snapshot, {"evolution.rows": np.zeros(3, np.float32)})),
        "unknown state": ("CHM405", changed(snapshot, {"state.more": np.zeros(3, np.float32)})),
        "no logits": ("CHM404", changed(snapshot, {"logits": None})),
        "no state": ("CHM404", changed(snapshot, {"state.trace": None})),
        "no sequence": ("CHM404", changed(snapshot, {"sequence": None})),
        "short state": ("CHM404", changed(snapshot, {"state.trace": np.zeros(7, np.float32)})),
        "state of integers": ("CHM404", changed(snapshot, {"state.trace": np.zeros(8, np.int32)})),
        "state of another shape": ("CHM404", changed(snapshot, {"state.looped": np.zeros((8, 4), np.float32)})),
        "flat state": ("CHM404", changed(snapshot, {"state.looped": np.zeros(32, np.float32)})),
        "longer logits": ("CHM404", changed(snapshot, {"logits": np.zeros(VOCABULARY + 1, np.float32)})),
        "cut": ("CHM401", snapshot[:-1]),
        "empty": ("CHM401", b""),
        "longer": ("CHM404", snapshot + b"\0"),
        "damaged": ("CHM406", snapshot[:-1] + bytes([snapshot[-1] ^ 1])),
        "much more": ("CHM403", changed(snapshot, {f"extra.{i}": container.array("logits") for i in range(200)})),
    }  # fmt: skip


def test_forged_snapshots_change_nothing(sessions: dict[str, Session], form: StateForm) -> None:
    session = sessions["native"]
    list(session.generate(TOKENS, max_tokens=4, **OPTIONS))
    snapshot = session.snapshot()
    assert bf.parse_container(snapshot).array("sequence")[6] == 1
    for name, (code, data) in forged(snapshot).items():
        for other in sessions.values():
            other.restore(snapshot)
            with pytest.raises(BundleError) as caught:
                other.restore(data)
            assert caught.value.code == code, name
            assert other.snapshot() == snapshot, name
        if name == "much more":  # a limit of the session's memory, which the Python reader has not
            continue
        with pytest.raises(BundleError) as caught:
            parse_state(form, data)
        assert caught.value.code == code, name


def test_what_is_extra_is_left_out(sessions: dict[str, Session], form: StateForm) -> None:
    session = sessions["native"]
    session.prefill(TOKENS)
    snapshot = session.snapshot()
    more = changed(snapshot, {"extra.title": np.frombuffer(b"a conversation", np.uint8)})
    session.reset()
    for other in sessions.values():
        other.restore(more)
        assert other.snapshot() == snapshot
    assert state_bytes(form, parse_state(form, more)) == snapshot


def test_order_and_spaces_do_not_matter(sessions: dict[str, Session]) -> None:
    session = sessions["native"]
    session.prefill(TOKENS)
    snapshot = session.snapshot()
    container = bf.parse_container(snapshot)
    other_order = [bf.array_section(name, container.array(name)) for name in reversed(list(container.sections))]
    data = bf.container_bytes("state", other_order, {bf.KEY_CONFIG: "", bf.KEY_MODEL: container.metadata[bf.KEY_MODEL]})
    spaced = data.replace(b'"shape":[4,8]', b'"shape":[ 4 , 8]')[: len(data) + 3]
    length = int.from_bytes(data[:8], "little")
    for given in (data, spaced[: 8 + length] + data[8 + length :]):
        session.reset()
        session.restore(given)
        assert session.snapshot() == snapshot


def test_a_snapshot_during_a_generation_in_node_is_refused(wasm_toy: Any) -> None:
    if shutil.which("node") is None:
        pytest.skip("needs Node.js")
    with load(wasm_toy.folder) as session:
        pieces = session.generate(TOKENS, max_tokens=50)
        next(pieces)
        with pytest.raises(BundleError, match="a generation is running") as caught:
            session.snapshot()
        assert caught.value.code == "CHM421"
        assert len(list(pieces)) == 49
        assert bf.parse_container(session.snapshot()).array("sequence")[0] == len(TOKENS) + 49


def test_files_are_whole_or_absent(sessions: dict[str, Session], tmp_path: Path) -> None:
    session = sessions["native"]
    session.prefill(TOKENS)
    path = tmp_path / "talk.state"
    bf.write_atomically(path, session.snapshot())
    container = bf.read_container(path)
    assert container.kind == "state"
    session.reset()
    session.restore(path.read_bytes())
    assert session.position == len(TOKENS)
    assert replace(container, metadata={}).array("logits").tobytes() == session.logits().tobytes()  # type: ignore[union-attr]
