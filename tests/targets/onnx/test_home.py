"""The shipped default model: its ONNX forms answer as its native bundle does."""

from __future__ import annotations

from pathlib import Path

import pytest

import chimerac
from chimerac.compiler.build.build import build

REQUESTS = [
    "turn off the bedroom lights",
    "set a timer for 10 minutes",
    "what's the capital of France?",
    "please add oat milk to the shopping list",
    "is the front door locked",
    "dim the lamp in Greta's room to 30%",
    "stop the vacuum cleaner upstairs",
    "play music everywhere",
    "zxqv!? \U0001f600",
    "open the garage door",
    "close all blinds in the living room",
    "make it warmer in the kitchen",
    "set the thermostat to 21 degrees",
    "how warm is it in the office",
    "broadcast that dinner is ready",
    "cancel my timer",
    "how long is left on the pizza timer",
    "next song please",
    "turn the volume up a bit",
    "mute the television",
    "what time is it",
    "what's the weather like tomorrow",
    "start the dishwasher",
    "turn the hallway light red",
    "lock every door downstairs",
    "add two minutes to the egg timer",
    "nevermind",
    "tell Thomas that I am late",
    "are there any lights on in the bathroom",
    "switch the fan in the attic off",
    "Once upon a time",
    "It was a bright cold day in April, and the clocks were striking thirteen.",
]


@pytest.mark.slow
def test_answers_are_those_of_the_native_bundle(tmp_path: Path) -> None:
    report = build("home", targets=["x86_64-avx2", "onnx", "onnx-fused"], out=tmp_path)
    native, exact, fused = (chimerac.load(bundle.path) for bundle in report.bundles)
    for request in REQUESTS:
        for session in (native, exact, fused):
            for _ in session.generate(request, max_tokens=48):
                pass
        assert exact.tokens() == native.tokens(), request
        assert exact.logits_hash() == native.logits_hash(), request
        assert exact.state_hash() == native.state_hash(), request
        assert fused.tokens() == native.tokens(), request
    for session in (native, exact, fused):
        session.close()
