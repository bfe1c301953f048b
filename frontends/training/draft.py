"""The phase that trains the draft head: it learns what a model, which stays as it is, would say after each place.

docs/training.md says how; docs/spans.md what it is for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from chimerac.compiler.errors import UserError
from chimerac.frontends.families.trainable import TrainableModule
from chimerac.frontends.layers.draft_head import DraftHead, begin_with
from chimerac.frontends.layers.prepared import PreparedWeights
from chimerac.frontends.training.beside import check_beside, load_beside, source_of
from chimerac.frontends.training.counter import generator
from chimerac.frontends.training.data import Batch, DataFolder, Source
from chimerac.frontends.training.distributed import Processes
from chimerac.frontends.training.module import make_module
from chimerac.frontends.training.settings import Plan

AHEAD: Final = 4  #: tokens that the runtime lets the head guess one after the other
HELD_OUT: Final = 8  #: one sequence of so many is only judged by,
MOST_HELD: Final = 8  #: in at most so many batches
MOST_COUNTED: Final = 8192  #: sequences whose tokens are counted
MOST_KEPT: Final = 1 << 28  #: numbers that the model gave, kept in memory
ORDER_STREAM: Final = 0x6472616674  #: "draft"


@dataclass(frozen=True)
class Lesson:
    """What there is to learn of some sequences.

    Attributes:
        hidden: [B, T, D], what the model's head reads. embedded: [B, T, D], of the tokens.
        said: [B, T, S], logits of the model for the token after each, of those that the head may guess.
        wanted: bool [B, T], the places that count.
        best: int64 [B, T], the model's likeliest token, of all.
    """

    hidden: Tensor
    embedded: Tensor
    said: Tensor
    wanted: Tensor
    best: Tensor


@torch.no_grad()
def look(model: TrainableModule, head: DraftHead, batch: Batch, hidden: Tensor | None = None) -> Lesson:
    """The lesson of some sequences, of which what the model's head reads may be known."""
    table = model.table()
    hidden = model.hidden(batch.tokens, table) if hidden is None else hidden
    logits = model.head(hidden, table)
    wanted = torch.ones_like(batch.tokens, dtype=torch.bool)
    if batch.positions is not None:
        wanted = torch.zeros_like(batch.tokens, dtype=torch.bool)
        wanted.view(-1)[batch.positions] = True
    embedded = model.embedded(batch.tokens, table)
    return Lesson(hidden, embedded, logits[..., head.ids.long()], wanted, logits.argmax(-1))


def guesses(head: DraftHead, lesson: Lesson) -> Iterator[tuple[Tensor, slice]]:
    """For 1 to AHEAD tokens more the scores [B, T - ahead, S] of what comes after them, and their places in the text.

    Each time the head goes on from what it made itself.
    """
    before = lesson.hidden
    for ahead in range(1, min(AHEAD, before.shape[1] - 1) + 1):
        before = head(before[:, : before.shape[1] - 1], lesson.embedded[:, ahead:])
        yield head.scores(before), slice(ahead, None)


def loss_of(head: DraftHead, lesson: Lesson) -> Tensor:
    """The mean cross-entropy to what the model says, of all places and numbers of tokens ahead."""
    total, count = lesson.hidden.new_zeros(()), lesson.hidden.new_zeros(())
    for scores, places in guesses(head, lesson):
        said = F.softmax(lesson.said[:, places].float(), -1)
        losses = -(said * F.log_softmax(scores, -1)).sum(-1)
        counts = lesson.wanted[:, places]
        total, count = total + (losses * counts).sum(), count + counts.sum()
    return total / count.clamp(min=1)


@torch.no_grad()
def right(head: DraftHead, lesson: Lesson) -> Tensor:
    """Counts int64 [2, AHEAD]: places where the first so many guesses are the model's likeliest tokens, and all."""
    found = torch.zeros(2, AHEAD, dtype=torch.int64)
    so_far: Tensor | None = None
    for index, (scores, places) in enumerate(guesses(head, lesson)):
        same = head.ids.long()[scores.argmax(-1)] == lesson.best[:, places]
        so_far = same if so_far is None else so_far[:, : same.shape[1]] & same
        counts = lesson.wanted[:, places]
        found[0, index], found[1, index] = (so_far & counts).sum(), counts.sum()
    return found


def train_draft(
    plan: Plan, data: DataFolder, processes: Processes, weights: Path | None, tell: Callable[[str], None]
) -> tuple[TrainableModule, dict[str, Any]]:
    """The model of ``weights``, which may lack a draft head, with a trained one; and how it does on held-out sequences.

    Raises:
        UserError: CHM250, the model has none, or there are no weights; CHM251, too few sequences; CHM258, several
            processes; CHM259, a loss that is not finite. CHM240 to CHM242 of the weights, CHM25x of the data.
    """
    given = check_beside("a draft head", processes, weights)
    model = make_module(plan)
    head = model.draft_head()
    if head is None:
        raise UserError("CHM250", "this model has no draft head to train", hint="write span_inference.draft_head")
    load_beside(model, head, plan, given)
    model.to(processes.device).requires_grad_(False)
    source = source_of(plan, data)
    held = np.arange(source.count - max(1, source.count // HELD_OUT), source.count)
    if held[0] < 1:
        raise UserError("CHM251", "too few sequences to train and judge a draft head")
    with PreparedWeights(model, torch.float32):
        if not head.scores.weight.any():
            torch.manual_seed(plan.seed)
            begin_with(head, model.table(), most_frequent(source, int(held[0]), plan, head.tokens).to(processes.device))
        loss = fit(model, head, source, int(held[0]), plan, tell)
        counts = torch.zeros(2, AHEAD, dtype=torch.int64)
        (phase,) = plan.phases
        for begin in range(0, min(len(held), MOST_HELD * phase.batch), phase.batch):
            batch = source.batch(held[begin : begin + phase.batch], 0, 1).to(processes.device)
            counts += right(head, look(model, head, batch))
    model.cpu()
    shares = [round(int(a) / max(1, int(b)), 4) for a, b in zip(*counts.tolist(), strict=True)]
    tell(f"draft head: of {int(counts[1, 0])} held-out places the first 1 to {AHEAD} guesses are all right in {shares}")
    return model, {"held_out": int(counts[1, 0]), "right": shares, "loss": loss}


def most_frequent(source: Source, known: int, plan: Plan, tokens: int) -> Tensor:
    """So many ``tokens``, int64, that are most often to be predicted in the first MOST_COUNTED of ``known`` sequences,
    those with lower ids first where they are equally frequent."""
    (phase,) = plan.phases
    counts = torch.zeros(plan.shape.vocabulary, dtype=torch.int64)
    for begin in range(0, min(known, MOST_COUNTED), phase.batch):
        batch = source.batch(np.arange(begin, min(begin + phase.batch, known)), 0, 1)
        counts += torch.bincount(batch.targets, minlength=len(counts))
    return counts.sort(descending=True, stable=True).indices[:tokens]


class _Lessons:
    """Lessons of batches by number. The model is run once for each as far as what it gives has room in memory."""

    def __init__(self, model: TrainableModule, head: DraftHead, source: Source, batch: int) -> None:
        self.model, self.head, self.source, self.batch = model, head, source, batch
        self.device = next(head.parameters()).device
        self.kept: dict[int, tuple[Batch, Tensor]] = {}
        self.room = MOST_KEPT

    def lesson(self, number: int) -> Lesson:
        if number in self.kept:
            batch, hidden = self.kept[number]
            return look(self.model, self.head, batch, hidden)
        numbers = np.arange(number * self.batch, (number + 1) * self.batch)
        batch = self.source.batch(numbers, 0, 1).to(self.device)
        lesson = look(self.model, self.head, batch)
        self.room -= lesson.hidden.numel()
        if self.room >= 0:
            self.kept[number] = batch, lesson.hidden
        return lesson


def fit(
    model: TrainableModule, head: DraftHead, source: Source, known: int, plan: Plan, tell: Callable[[str], None]
) -> float:
    """AdamW on the first ``known`` sequences, in batches that are drawn again and again, the rate a half cosine; the
    last step's loss."""
    head.requires_grad_(True)
    (phase,) = plan.phases
    lessons, batches = _Lessons(model, head, source, min(phase.batch, known)), max(1, known // phase.batch)
    optimizer = torch.optim.AdamW(head.parameters(), lr=phase.learning_rate, weight_decay=0.01)
    model.eval()
    value = math.nan
    for step in range(phase.steps):
        for group in optimizer.param_groups:
            group["lr"] = phase.learning_rate * 0.5 * (1 + math.cos(math.pi * step / phase.steps))
        number = int(generator(plan.seed, ORDER_STREAM, step).integers(batches))
        optimizer.zero_grad()
        loss = loss_of(head, lessons.lesson(number))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), phase.clip)
        optimizer.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise UserError("CHM259", f"the draft head's loss is {value} in step {step + 1}", hint="lower its rate")
        if (step + 1) % plan.log_interval == 0:
            tell(f"draft head: step {step + 1} of {phase.steps}, loss {value:.4f}")
    head.requires_grad_(False)
    return value
