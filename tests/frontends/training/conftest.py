"""A tiny model, data folders and single runs for the tests of training."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_tools import ANSWER, CODEC, END, TINY, model_of

from chimerac.frontends.families.chimera.shape import ChimeraShape
from chimerac.frontends.training import Phase, Plan
from chimerac.frontends.training.data import DataFolder
from chimerac.frontends.weights.checkpoint import save_safetensors

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_plan() -> Callable[..., Plan]:
    """A plan of one phase with the given fields; ``shape`` and fields of the plan may be given too."""

    def make(*, shape: ChimeraShape = TINY, plan: dict[str, object] | None = None, **phase: object) -> Plan:
        usual = {"name": "first", "steps": 6, "sequence_length": 16, "batch": 4, "warmup_steps": 2}
        made = Plan(shape, (Phase(**{**usual, "learning_rate": 5e-3, **phase}),), log_interval=2, save_interval=2)  # type: ignore[arg-type]
        return replace(made, **(plan or {}))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def data_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with text, rows, pairs and held-out rows. The task: answer x with {"intent":"x"}."""
    folder = tmp_path_factory.mktemp("data")
    pattern = np.frombuffer(b"the light is on. the door is shut. ", np.uint8)
    np.tile(pattern, 60).astype("<u2").tofile(folder / "pretrain.bin")
    np.tile(pattern, 2).astype("<u2").tofile(folder / "valid_text.bin")
    (folder / "valid_text.bytes").write_bytes(bytes(np.tile(pattern, 2)))
    rows = [_row(letter) for letter in "abcd" * 8]
    _write_rows(folder / "sft.npz", rows)
    pairs = []
    for letter in "abcd" * 4:
        pairs += [_row(letter), _row(letter, "dcba"["abcd".index(letter)])]
    _write_rows(folder / "dpo.npz", pairs)
    lines = [{"text": x, "json": _json(x), "intent": x} for x in "abcd"]
    (folder / "valid_seen.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def _json(letter: str) -> str:
    return f'{{"intent":"{letter}"}}'


def _row(letter: str, answer: str | None = None) -> list[int]:
    return [*letter.encode(), ANSWER, *_json(answer or letter).encode(), END]


def _write_rows(file: Path, rows: list[list[int]]) -> None:
    lengths = np.array([len(row) for row in rows], np.int32)
    tokens = np.full((len(rows), lengths.max() + 3), 259, np.uint16)
    for place, row in zip(tokens, rows, strict=True):
        place[: len(row)] = row
    np.savez(file, tokens=tokens, loss_start=np.full(len(rows), 2, np.int32), length=lengths)


@pytest.fixture(scope="session")
def folder(data_path: Path) -> DataFolder:
    return DataFolder(data_path, CODEC.encode, CODEC.end)


@pytest.fixture
def weights(make_plan: Callable[..., Plan], tmp_path: Path) -> Path:
    """Of a model without a router and a draft head."""
    save_safetensors(model_of(make_plan()), tmp_path / "before.safetensors")
    return tmp_path / "before.safetensors"
