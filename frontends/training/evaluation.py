"""Measures on held-out data: bits per byte of text, and exact answers generated greedily in batches."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from chimerac.frontends.families.trainable import TrainableModule
from chimerac.frontends.training.files import read_examples

SPLITS = ("seen", "names", "templates")  #: files valid_<split>.jsonl
EXAMPLES_KEPT = 5  #: wrong answers of each split that the metrics show


@dataclass(frozen=True)
class Codec:
    """Text to token numbers and back, and the tokens between request, what is heard in it, answer and what follows."""

    encode: Callable[[str], list[int]]
    decode: Callable[[list[int]], str]
    answer: int | None
    end: int | None
    heard: int | None = None

    def prompt(self, row: Mapping[str, Any]) -> list[int]:
        """Tokens of a row's "text", of what is "heard" in it, and of the answer token."""
        tokens = self.encode(row["text"])
        if self.heard is not None and "heard" in row:
            tokens = [*tokens, self.heard, *self.encode(row["heard"])]
        return tokens if self.answer is None else [*tokens, self.answer]


@dataclass(frozen=True)
class Measuring:
    """How to compute.

    Attributes:
        batch: sequences at a time. fixed: always fill batches and width, so that compiled code sees one shape.
        loops: loop count; None for the model's default.
    """

    device: torch.device
    batch: int = 64
    fixed: bool = False
    loops: int | None = None


@torch.no_grad()
def bits_per_byte(
    model: TrainableModule, tokens: NDArray[np.uint16], size: int, length: int, measuring: Measuring
) -> float:
    """Bits that the model needs for a text per byte of it.

    Windows of ``length`` tokens overlap by half and count their second half, so each token has at least half a window
    before it; the first counts all of it. The first token of the text counts as equally likely as any.
    """
    model.eval()
    stride = length // 2
    starts = list(range(0, len(tokens), stride))
    total = math.log(model.shape.vocabulary)
    padded = np.concatenate([tokens.astype(np.int64), np.zeros(length + 1, np.int64)])
    table = model.table()
    for first in range(0, len(starts), measuring.batch):
        part = starts[first : first + measuring.batch]
        missing = measuring.batch - len(part) if measuring.fixed else 0
        rows = np.stack([padded[s : s + length + 1] for s in part + part[:1] * missing])
        counted = np.zeros((len(rows), length), bool)
        for row, start in enumerate(part):
            counted[row, 0 if start == 0 else length - stride : max(0, len(tokens) - 1 - start)] = True
        inputs = torch.from_numpy(rows[:, :-1].copy()).to(measuring.device)
        wanted = torch.from_numpy(np.flatnonzero(counted)).to(measuring.device)
        targets = torch.from_numpy(rows[:, 1:].flatten()[np.flatnonzero(counted)]).to(measuring.device)
        hidden = model.hidden(inputs, table, measuring.loops).flatten(0, 1)[wanted]
        total += float(F.cross_entropy(model.head(hidden, table), targets, reduction="sum"))
    return total / math.log(2) / size


@torch.no_grad()
def greedy(
    model: TrainableModule, prompts: Sequence[list[int]], width: int, end: int | None, measuring: Measuring
) -> list[list[int]]:
    """The likeliest continuation of each prompt, token by token up to ``end`` or ``width`` tokens in all.

    Each token runs the whole prefix again in the training form: on a GPU, where many prompts run at once, that is
    faster than stepping states, and needs no second form of the model.
    """
    model.eval()
    table = model.table()
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    answers: list[list[int]] = [[] for _ in prompts]
    for first in range(0, len(order), measuring.batch):
        part = order[first : first + measuring.batch]
        rows = measuring.batch if measuring.fixed else len(part)
        tokens = torch.zeros(rows, width, dtype=torch.int64)
        lengths = torch.full((rows,), width)  # rows that only fill the batch are finished at once
        for row, index in enumerate(part):
            prompt = prompts[index][:width]
            tokens[row, : len(prompt)] = torch.tensor(prompt)
            lengths[row] = len(prompt)
        starts = lengths.tolist()
        done = _continue(model, table, tokens.to(measuring.device), lengths.to(measuring.device), end, measuring)
        for row, index in enumerate(part):
            answer = done[row, starts[row] :].tolist()
            answers[index] = answer[: answer.index(-1)] if -1 in answer else answer
    return answers


def _continue(
    model: TrainableModule, table: Tensor, tokens: Tensor, lengths: Tensor, end: int | None, measuring: Measuring
) -> Tensor:
    """Fill ``tokens`` [B, W] behind ``lengths`` [B]; -1 behind the last token of each row."""
    rows = torch.arange(len(tokens), device=tokens.device)
    width = tokens.shape[1]
    active = lengths < width
    while bool(active.any()):
        used = width if measuring.fixed else int(lengths[active].max())
        hidden = model.hidden(tokens[:, :used], table, measuring.loops)[rows, (lengths - 1).clamp(max=used - 1)]
        chosen = model.head(hidden, table).argmax(-1)
        if end is not None:
            active = active & (chosen != end)
        place = lengths.clamp(max=width - 1)
        tokens[rows, place] = torch.where(active, chosen, tokens[rows, place])
        lengths = lengths + active
        active = active & (lengths < width)
    return torch.where(torch.arange(width, device=tokens.device) < lengths[:, None], tokens, -1)


def exact_matches(
    model: TrainableModule, file: Path, codec: Codec, width: int, measuring: Measuring, most: int | None = None
) -> dict[str, Any]:
    """Answers that equal the wanted JSON as values, over all rows of a split and per intent.

    Args:
        file: rows {"text", "json", "intent"}. most: rows to take, evenly spread; None for all.
    """
    rows = read_examples(file)
    if most is not None and len(rows) > most:
        rows = [rows[i * len(rows) // most] for i in range(most)]
    prompts = [codec.prompt(row) for row in rows]
    found = [codec.decode(tokens) for tokens in greedy(model, prompts, width, codec.end, measuring)]
    right = [_value(text) == json.loads(row["json"]) for text, row in zip(found, rows, strict=True)]
    intents: dict[str, list[bool]] = {}
    for row, is_right in zip(rows, right, strict=True):
        intents.setdefault(row["intent"], []).append(is_right)
    wrong = [i for i, is_right in enumerate(right) if not is_right][:EXAMPLES_KEPT]
    return {
        "rows": len(rows),
        "exact": sum(right) / max(1, len(rows)),
        "intents": {name: {"rows": len(r), "exact": sum(r) / len(r)} for name, r in sorted(intents.items())},
        "wrong": [{"text": rows[i]["text"], "wanted": rows[i]["json"], "found": found[i]} for i in wrong],
    }


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def evaluate(
    model: TrainableModule,
    folder: Path,
    valid_text: tuple[NDArray[np.uint16], int] | None,
    codec: Codec,
    lengths: tuple[int, int],
    measuring: Measuring,
    most: int | None = None,
) -> dict[str, Any]:
    """All measures that the data folder has data for.

    Args:
        lengths: tokens of a window of text, and the most of a request with its answer.
    """
    training = model.training
    metrics: dict[str, Any] = {}
    if valid_text is not None and len(valid_text[0]):
        metrics["bits_per_byte"] = bits_per_byte(model, *valid_text, lengths[0], measuring)
    for split in SPLITS:
        file = folder / f"valid_{split}.jsonl"
        if file.exists():
            metrics[split] = exact_matches(model, file, codec, lengths[1], measuring, most)
    model.train(training)
    return metrics
