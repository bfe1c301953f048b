"""Measures: bits per byte against the definition, greedy answers against running each prompt alone."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from chimera_weights import initialise
from training_tools import CODEC, TINY

from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.training.evaluation import Measuring, bits_per_byte, exact_matches, greedy

CPU = Measuring(torch.device("cpu"), batch=3)
FIXED = Measuring(torch.device("cpu"), batch=3, fixed=True)


@pytest.fixture(scope="module")
def model() -> ChimeraModel:
    made = ChimeraModel(TINY)
    initialise(made, 3)
    with torch.no_grad():
        made.embedding.weight.mul_(20)  # sharper choices
    return made


@pytest.mark.parametrize("measuring", [CPU, FIXED])
@pytest.mark.parametrize("count", [1, 16, 17, 48])
def test_bits_per_byte_is_the_sum_over_all_tokens(model: ChimeraModel, measuring: Measuring, count: int) -> None:
    tokens = np.random.default_rng(0).integers(0, 260, count).astype(np.uint16)
    total = math.log(260)
    rows = torch.from_numpy(tokens.astype(np.int64))
    with torch.no_grad():
        for place in range(1, count):
            start = 0 if place <= 16 else 8 * ((place - 9) // 8)
            logits = model(rows[None, start:place])[0, -1]
            total -= float(logits.log_softmax(-1)[rows[place]])
    found = bits_per_byte(model, tokens, 100, 16, measuring)
    assert found == pytest.approx(total / math.log(2) / 100, rel=1e-3)


@pytest.mark.slow
def test_greedy_batches_equal_single_prompts(model: ChimeraModel) -> None:
    prompts = [[1, 2, 3], [200], [7] * 11, [5, 6], [9, 9, 9, 9]]
    expected = []
    with torch.no_grad():
        for prompt in prompts:
            tokens = list(prompt)
            while len(tokens) < 12:
                chosen = int(model(torch.tensor([tokens]))[0, -1].argmax())
                tokens.append(chosen)
            expected.append(tokens[len(prompt) :])
    assert greedy(model, prompts, 12, None, CPU) == expected
    assert greedy(model, prompts, 12, None, FIXED) == expected
    end = expected[0][2]
    cut = [tokens[: tokens.index(end)] if end in tokens else tokens for tokens in expected]
    assert greedy(model, prompts, 12, end, FIXED) == cut


def test_answers_are_compared_as_values(model: ChimeraModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"text": "a", "json": '{"intent":"x","slots":{"p":1,"q":2}}', "intent": "x"},
        {"text": "b", "json": '{"intent":"x","slots":{}}', "intent": "x"},
        {"text": "c", "json": '{"intent":"y","slots":{}}', "intent": "y"},
        {"text": "d", "json": '{"intent":"y","slots":{}}', "intent": "y"},
    ]
    answers = {
        "a": '{"slots": {"q": 2, "p": 1}, "intent": "x"}',
        "b": '{"intent":"x","slots":{"p":1}}',
        "c": '{"intent":"y","slots":{}}',
        "d": '{"intent":"y","slots":',
    }
    file = tmp_path / "valid.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def answer(_: object, prompts: list[list[int]], *__: object) -> list[list[int]]:
        assert all(prompt[-1] == CODEC.answer for prompt in prompts)
        return [CODEC.encode(answers[CODEC.decode(prompt)]) for prompt in prompts]

    monkeypatch.setattr("chimerac.frontends.training.evaluation.greedy", answer)
    found = exact_matches(model, file, CODEC, 64, CPU)
    assert found["exact"] == 0.5
    assert found["intents"] == {"x": {"rows": 2, "exact": 0.5}, "y": {"rows": 2, "exact": 0.5}}
    assert [row["text"] for row in found["wrong"]] == ["b", "d"]
    assert exact_matches(model, file, CODEC, 64, CPU, most=2)["rows"] == 2


def test_a_prompt_says_what_is_heard() -> None:
    row = {"text": "ab", "heard": "c"}
    codec = replace(CODEC, encode=lambda text: list(text.encode()), answer=300, heard=301)
    assert codec.prompt(row) == [97, 98, 301, 99, 300]
    assert codec.prompt({"text": "ab"}) == [97, 98, 300]
    assert replace(codec, heard=None).prompt(row) == [97, 98, 300]
    assert replace(codec, answer=None).prompt(row) == [97, 98, 301, 99]
