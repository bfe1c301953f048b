"""Exact match: what counts as right, and how it is summed up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from chimerac.frontends.training.recipes.home.evaluate import Example, evaluate, evaluate_batches, parse, read_examples

LAMP = '{"intent":"HassTurnOn","slots":{"name":"Lamp"}}'
WARM = '{"intent":"HassClimateSetTemperature","slots":{"area":"den","temperature":20}}'
EXAMPLES = [Example("lamp on", LAMP, "HassTurnOn"), Example("den to 20", WARM, "HassClimateSetTemperature")]


@pytest.mark.parametrize(
    ("prediction", "right"),
    [
        (LAMP, True),
        ('{ "slots": {"name": "Lamp"}, "intent": "HassTurnOn" }', True),
        ('{"intent":"HassTurnOn","slots":{"name":"lamp"}}', False),
        ('{"intent":"HassTurnOn","slots":{}}', False),
        ('{"intent":"HassTurnOn","slots":{"name":"Lamp","area":"den"}}', False),
        ('{"intent":"HassTurnOff","slots":{"name":"Lamp"}}', False),
        ('{"intent":"HassTurnOn","slots":{"name":"x","name":"Lamp"}}', False),
        (LAMP + "}", False),
        (LAMP[:-1], False),
        ("[]", False),
        ("", False),
    ],
)
def test_what_is_right(prediction: str, right: bool) -> None:
    score = evaluate(lambda text: prediction, EXAMPLES[:1])
    assert score.overall.exact == right
    assert score.overall.total == 1
    assert score.wrong == ([] if right else [(EXAMPLES[0], prediction)])


def test_numbers_are_numbers() -> None:
    assert evaluate(lambda text: WARM.replace("20", "20.0"), EXAMPLES[1:]).overall.exact == 1
    assert evaluate(lambda text: WARM.replace("20", '"20"'), EXAMPLES[1:]).overall.exact == 0


def test_per_intent() -> None:
    score = evaluate(lambda text: LAMP.replace("Lamp", "x") if text == "lamp on" else WARM, EXAMPLES)
    assert score.per_intent["HassTurnOn"].right_intent == 1
    assert score.per_intent["HassTurnOn"].share == 0
    assert score.per_intent["HassClimateSetTemperature"].share == 1
    assert score.overall.share == 0.5
    assert score.table().splitlines()[-1] == "| all | 2 | 100.0% | 50.0% |"


def test_batches_are_the_same() -> None:
    asked: list[int] = []

    def generate(texts: Sequence[str]) -> list[str]:
        asked.append(len(texts))
        return [LAMP for _ in texts]

    score = evaluate_batches(generate, EXAMPLES * 3, 4)
    assert asked == [4, 2]
    assert (score.overall.exact, score.overall.total) == (3, 6)
    assert score.per_intent == evaluate(lambda text: LAMP, EXAMPLES * 3).per_intent


def test_reading_examples(tmp_path: Path) -> None:
    lines = [{"text": example.text, "json": example.json, "intent": example.intent} for example in EXAMPLES]
    (tmp_path / "v.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_examples(tmp_path / "v.jsonl") == EXAMPLES


def test_deep_nesting_is_only_wrong() -> None:
    assert parse("[" * 100_000) is None
    assert parse('{"a":' * 100_000) is None
