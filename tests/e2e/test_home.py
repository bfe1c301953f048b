"""The embedded default answers requests with JSON, the same on every target."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from home_requests import FEW

import chimerac
from chimerac.compiler.build.build import build
from chimerac.runtime.sessions.runner import find_emulator

TARGETS = ["x86_64-avx2", "wasm", *(["aarch64-neon"] if find_emulator("aarch64") else [])]
REQUESTS = {
    "turn off the bedroom lights": ("HassTurnOff", {"area": "bedroom", "domain": "light"}),
    "set a timer for 10 minutes": ("HassStartTimer", {"minutes": 10}),
    "what's the capital of France?": ("OutOfDomain", {}),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    report = build("home", targets=TARGETS, out=tmp_path_factory.mktemp("home"))
    assert report.weights == "home.safetensors"
    return {bundle.target: bundle.path for bundle in report.bundles}


@pytest.mark.parametrize("target", TARGETS)
def test_requests_are_answered(home: dict[str, Path], target: str) -> None:
    with chimerac.load(home[target]) as session:
        for request, (intent, slots) in REQUESTS.items():
            answer = "".join(map(str, session.generate(request, max_tokens=64)))
            assert json.loads(answer) == {"intent": intent, "slots": slots}
            assert session.finish_reason == "stop"


def test_targets_answer_alike(home: dict[str, Path]) -> None:
    runs = []
    for path in home.values():
        with chimerac.load(path) as session:
            run = []
            for request in FEW:
                list(session.generate(request, max_tokens=48))
                run.append((session.tokens(), session.logits_hash(), session.state_hash()))
            runs.append(run)
    assert all(run == runs[0] for run in runs)


def test_card_has_the_measured_figures(home: dict[str, Path]) -> None:
    card = (home["wasm"] / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "templates never seen in training" in card
    assert "home-assistant-intents" in card
