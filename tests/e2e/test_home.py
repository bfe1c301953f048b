"""The embedded default answers requests with JSON, the same on every target."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from home_requests import FEW
from made_once import Once

import chimerac
from chimerac.compiler.build.build import build
from chimerac.runtime.sessions.runner import find_emulator

TARGETS = ["x86_64-avx2", "wasm"]
OTHERS = ["aarch64-neon"] if find_emulator("aarch64") else []
REQUESTS = {
    "turn off the lights in the bedroom": ("HassTurnOff", {"area": "bedroom", "domain": "light"}),
    "set a timer for 10 minutes": ("HassStartTimer", {"minutes": 10}),
    "what's the capital of France?": ("OutOfDomain", {}),
}


@pytest.fixture(scope="module")
def home(once: Once) -> Callable[[str], Path]:
    """The bundle for a target."""

    def make(folder: Path, target: str) -> None:
        assert build("home", targets=[target], out=folder).weights == "home.safetensors"

    def bundle(target: str) -> Path:
        (path,) = once(f"home {target}", partial(make, target=target)).iterdir()
        return path

    return bundle


@pytest.mark.parametrize(
    "target", [TARGETS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in (*TARGETS[1:], *OTHERS))]
)
def test_requests_are_answered(home: Callable[[str], Path], target: str) -> None:
    with chimerac.load(home(target)) as session:
        for request, (intent, slots) in REQUESTS.items():
            answer = "".join(map(str, session.generate(request)))
            assert json.loads(answer) == {"intent": intent, "slots": slots}
            assert session.finish_reason == "stop"


@pytest.mark.slow
def test_targets_answer_alike(home: Callable[[str], Path]) -> None:
    runs = []
    for target in (*TARGETS, *OTHERS):
        with chimerac.load(home(target)) as session:
            run = []
            for request in FEW:
                list(session.generate(request, max_tokens=48))
                run.append((session.tokens(), session.logits_hash(), session.state_hash()))
            runs.append(run)
    assert all(run == runs[0] for run in runs)


def test_card_has_the_measured_figures(home: Callable[[str], Path]) -> None:
    card = (home(TARGETS[0]) / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "templates never seen in training" in card
    assert "home-assistant-intents" in card
