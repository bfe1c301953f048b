"""The phase of the draft head: what it looks at, what it learns, what it leaves, and its mistakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from beside import assert_refused, run_phase, trained_part
from training_tools import TINY, model_of

from chimerac.compiler.errors import UserError
from chimerac.frontends.layers.draft_head import DraftHead, begin_with
from chimerac.frontends.layers.shapes import DraftShape, QuantizationShape
from chimerac.frontends.training import Plan
from chimerac.frontends.training.data import Batch, DataFolder
from chimerac.frontends.training.draft import AHEAD, HELD_OUT, Lesson, look, loss_of, right
from chimerac.frontends.training.run import WEIGHTS_FILE

DRAFTED = replace(TINY, draft=DraftShape(24, 200))
PHASE: dict[str, Any] = {"name": "draft", "kind": "draft", "steps": 3, "batch": 2, "sequence_length": 24}


@pytest.mark.parametrize("rows", [False, True])
def test_a_loss_is_of_what_the_model_says_further_on(rows: bool, make_plan: Callable[..., Plan]) -> None:
    """The head goes on from the model's vector at a place, with the tokens that the text has after it."""
    model = model_of(make_plan(shape=DRAFTED))
    head = model.draft_head()
    assert head is not None
    torch.manual_seed(2)
    begin_with(head, model.table())
    tokens = torch.randint(200, (2, 9))
    places = torch.tensor([3, 4, 10, 11, 12, 15]) if rows else None
    batch = Batch(torch.arange(2).numpy(), tokens, places, torch.zeros(0, dtype=torch.int64), 0)
    found = look(model, head, batch)
    losses, same, every = [], [0] * AHEAD, [0] * AHEAD
    with torch.no_grad():
        table = model.table()
        hidden, logits = model.hidden(tokens, table), model(tokens)
        for row in range(2):
            for place in range(9):
                before, as_said = hidden[row, place], True
                for ahead in range(1, min(AHEAD, 8 - place) + 1):
                    before = head(before, table[tokens[row, place + ahead]])
                    scores = head.scores(before)
                    as_said = as_said and bool(scores.argmax() == logits[row, place + ahead].argmax())
                    if places is None or 9 * row + place + ahead in places.tolist():
                        said = F.softmax(logits[row, place + ahead, :200], -1)
                        losses.append(F.cross_entropy(scores, said))
                        same[ahead - 1] += as_said
                        every[ahead - 1] += 1
    torch.testing.assert_close(loss_of(head, found), torch.stack(losses).mean(), atol=1e-4, rtol=1e-4)
    assert right(head, found).tolist() == [same, every]


def test_what_can_be_known_is_learnt() -> None:
    """Vectors that say which token comes next, and tokens that say which one comes after them."""
    torch.manual_seed(1)
    head = DraftHead(32, DraftShape(64, 16), QuantizationShape(32, 16), 1e-6)
    table, order, ids = torch.randn(16, 32), torch.randperm(16), torch.randperm(16)
    begin_with(head, table, ids)
    tokens = torch.randint(16, (64, 1))
    for _ in range(7):
        tokens = torch.cat([tokens, order[tokens[:, -1:]]], 1)
    said = 8.0 * F.one_hot(order[tokens], 16)
    lesson = Lesson(
        table[order[tokens]], table[tokens], said[..., ids], torch.ones_like(tokens, dtype=torch.bool), order[tokens]
    )
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2)
    first = loss_of(head, lesson).item()
    for _ in range(150):
        optimizer.zero_grad()
        loss = loss_of(head, lesson)
        loss.backward()
        optimizer.step()
    counts = right(head, lesson)
    assert loss.item() < first / 2
    assert (counts[0] > 0.9 * counts[1]).all()


def test_only_the_head_changes(
    make_plan: Callable[..., Plan], folder: DataFolder, weights: Path, tmp_path: Path
) -> None:
    """From weights without one, and on from those with one."""
    plan = make_plan(shape=DRAFTED, **PHASE)
    metrics, made = trained_part("draft", plan, folder, tmp_path, weights)
    assert all(tensor.abs().sum() > 0 for tensor in made.values())
    counts = torch.zeros(TINY.vocabulary)
    source = folder.source(replace(plan.phases[0], kind="sft"), TINY.vocabulary, plan.seed * 1000)
    for number in range(source.count - max(1, source.count // HELD_OUT)):
        counts += torch.bincount(source.batch(np.array([number]), 0, 1).targets, minlength=TINY.vocabulary)
    assert torch.equal(made["draft.ids"], counts.sort(descending=True, stable=True).indices[:200].float())
    assert len(metrics["draft"]["right"]) == AHEAD
    further = run_phase(plan, folder, tmp_path / "further", tmp_path / "out" / WEIGHTS_FILE)
    assert further["draft"]["loss"] < metrics["draft"]["loss"]


def test_mistakes(make_plan: Callable[..., Plan], folder: DataFolder, weights: Path, tmp_path: Path) -> None:
    plan = make_plan(shape=DRAFTED, **PHASE)
    cases: list[tuple[Plan, Path | None, dict[str, Any], str, str]] = [
        (make_plan(**PHASE), weights, {}, "CHM250", "no draft head"),
        (plan, None, {}, "CHM250", "a model that is trained"),
        (plan, weights, {"stop_after": 1.0}, "CHM250", "is not stopped"),
        (replace(plan, phases=plan.phases * 2), weights, {}, "CHM250", "a plan of its own"),
    ]
    assert_refused(cases, folder, tmp_path)
    loop, folder_of = tmp_path / "loop", tmp_path / "folder"
    loop.symlink_to("loop")
    folder_of.mkdir()
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "zeros").write_bytes(bytes(4096))
    with (tmp_path / "vast").open("wb") as file:
        file.truncate(1 << 40)
    for bad in (loop, folder_of, *(tmp_path / name for name in ("missing", "empty", "zeros", "vast"))):
        with pytest.raises(UserError) as error:
            run_phase(plan, folder, tmp_path / "out", bad)
        assert error.value.code in ("CHM240", "CHM241"), error.value
        assert not (tmp_path / "out").exists()
