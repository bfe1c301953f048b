"""Snapshots of one model natively, in Node and in ONNX Runtime: the same bytes, and each continues those of all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from snapshots import changed

import chimerac
from chimerac.compiler.build.build import build
from chimerac.compiler.build.importing import import_model
from chimerac.compiler.build.lowering import lower
from chimerac.compiler.packaging.weights import model_sha256
from chimerac.runtime import bundle_format as bf
from chimerac.runtime.errors import BundleError
from chimerac.runtime.sessions.interface import Session
from chimerac.targets.registry import find_target

PROMPT = "It was a bright cold day in April, é"
OPTIONS: list[dict[str, Any]] = [
    {},
    {"temperature": 1.3, "seed": 5, "repetition_penalty": 1.2, "loops": 3},
    {"grammar": "json", "temperature": 1.5, "seed": 3},
    {"grammar": "markdown", "temperature": 1.5, "seed": 3},
    {"grammar": "json", "loops": 6, "exit_threshold": 0.3},
]
#: Those with one grammar and with none; the others take long.
SOME_OPTIONS = [o if i in (1, 4) else pytest.param(o, marks=pytest.mark.slow) for i, o in enumerate(OPTIONS)]
TOKENS = 24


@pytest.fixture(scope="module")
def sessions(bundles: dict[str, Path], onnx_bundles: dict[str, Path]) -> Iterator[dict[str, Session]]:
    paths = {"x86_64-avx2": bundles["x86_64-avx2"], "onnx": onnx_bundles["onnx"]}
    if shutil.which("node") is not None:
        paths["wasm"] = bundles["wasm"]
    opened = {name: chimerac.load(path) for name, path in paths.items()}
    yield opened
    for session in opened.values():
        session.close()


@pytest.mark.parametrize("options", SOME_OPTIONS)
def test_the_same_bytes_and_the_same_future(options: dict[str, Any], sessions: dict[str, Session]) -> None:
    ended = {}
    for name, session in sessions.items():
        list(session.generate(PROMPT, max_tokens=TOKENS, **options))
        ended[name] = session.snapshot()
    assert len(set(ended.values())) == 1
    futures = []
    for session in sessions.values():
        session.restore(ended["x86_64-avx2"])
        text = [(p.text, p.token) for p in session.generate(" and", max_tokens=8, reset=False, **options)]
        futures.append((text, session.snapshot()))
    assert all(future == futures[0] for future in futures)


@pytest.mark.parametrize("options", SOME_OPTIONS)
def test_in_the_middle_of_a_generation(options: dict[str, Any], sessions: dict[str, Session]) -> None:
    """What the native runtime and ONNX Runtime keep of it is the same; a choice of one token runs nothing there."""
    native, other = sessions["x86_64-avx2"], sessions["onnx"]
    middle = []
    for session in (native, other):
        taken = []
        pieces = session.generate(PROMPT, max_tokens=TOKENS, **options)
        for _ in pieces:
            taken.append(session.snapshot())
        middle.append(taken)
    assert middle[0] == middle[1]
    for snapshot in middle[0][::7]:
        futures = []
        for session in sessions.values():
            session.restore(snapshot)
            assert session.snapshot() == snapshot
            pieces = session.generate([], max_tokens=5, reset=False, **{**options, "grammar": "none"})
            futures.append(([(p.text, p.token) for p in pieces], session.state_hash(), session.logits_hash()))
        assert all(future == futures[0] for future in futures)


def test_a_started_session_is_the_same_everywhere(sessions: dict[str, Session]) -> None:
    starts = set()
    for session in sessions.values():
        session.reset()
        starts.add(session.snapshot())
    assert len(starts) == 1
    start = starts.pop()
    expected = set()
    for session in sessions.values():
        session.prefill([1, 2, 3])
        session.restore(start)
        assert session.position == 0
        assert session.logits() is None
        session.prefill([7, 8])
        expected.add(session.snapshot())
    assert len(expected) == 1


def test_a_fused_model_continues_too(sessions: dict[str, Session], onnx_bundles: dict[str, Path]) -> None:
    native = sessions["x86_64-avx2"]
    native.reset()
    native.prefill([*PROMPT.encode()])
    with chimerac.load(onnx_bundles["onnx-fused"]) as fused:
        fused.restore(native.snapshot())
        assert fused.snapshot() == native.snapshot()
        for session in (fused, native):
            session.prefill([65])
        ours, expected = fused.logits(), native.logits()
        assert ours is not None
        assert expected is not None
        assert np.abs(ours - expected).max() / np.ptp(expected) < 0.03


def test_forged_snapshots_change_nothing(sessions: dict[str, Session], document: Path, tmp_path: Path) -> None:
    native = sessions["x86_64-avx2"]
    native.reset()
    native.prefill([1, 2, 3])
    snapshot = native.snapshot()
    state = next(name for name in bf.parse_container(snapshot).sections if name.startswith("state."))
    cases = {
        "CHM401": snapshot[:-1],
        "CHM404": changed(snapshot, {state: None}),
        "CHM405": changed(snapshot, {"state.more": np.zeros(3, np.float32)}),
        "CHM406": snapshot[:-1] + bytes([snapshot[-1] ^ 1]),
        "CHM407": changed(snapshot, metadata={bf.KEY_MODEL: "00" * 32}),
        "CHM420": changed(snapshot, {"sequence": np.full(8, -1, np.int32)}),
    }
    for session in sessions.values():
        session.restore(snapshot)
        for code, data in cases.items():
            with pytest.raises(BundleError) as caught:
                session.restore(data)
            assert caught.value.code == code
        assert session.snapshot() == snapshot
    other = build(document, scale="nano", targets=["onnx"], seed=99, out=tmp_path, check=False).bundles[0]
    with chimerac.load(other.path) as session, pytest.raises(BundleError, match="another model") as caught:
        session.restore(snapshot)
    assert caught.value.code == "CHM407"


@pytest.mark.slow
def test_the_digest_of_a_model_does_not_depend_on_the_target(document: Path, bundles: dict[str, Path]) -> None:
    module = import_model(document, scale="nano").module
    expected = bf.read_manifest(bundles["wasm"]).model_sha256
    for name, form in (("x86_64-avx2", None), ("x86_64-avx512", "t5"), ("onnx", None)):
        assert model_sha256(lower(module, find_target(name), trits=form)[0]) == expected
    changed_weights = import_model(document, scale="nano", seed=99).module
    assert model_sha256(lower(changed_weights, find_target("onnx"))[0]) != expected
