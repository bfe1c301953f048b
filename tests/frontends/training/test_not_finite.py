"""Training with numbers that are not finite: one gradient is left out and counted, a loss ends the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from training_tools import ALONE, CODEC, model_of

from chimerac.compiler.errors import UserError
from chimerac.frontends.training import Plan, train_plan
from chimerac.frontends.training.checkpointing import STATE_FILE
from chimerac.frontends.training.data import Batch, DataFolder
from chimerac.frontends.training.loop import PhaseRunner, prepare
from chimerac.frontends.training.progress import LOG_FILE

Make = Callable[..., Plan]


@pytest.mark.parametrize("wrong", [float("inf"), float("nan")])
def test_a_gradient_that_is_not_finite_moves_no_weight(
    make_plan: Make, folder: DataFolder, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    plan = make_plan(weight_decay=0.0)
    model = model_of(plan)
    runner = PhaseRunner(plan, 0, model, prepare(model, plan, ALONE), folder.source(plan.phases[0], 260, 0), ALONE)
    losses, norm = runner._losses, model.get_parameter("norm.weight")

    def spoilt(batch: Batch, depths: Tensor | None, *, backward: bool = False) -> Tensor:
        loss = losses(batch, depths, backward=backward)
        assert norm.grad is not None
        norm.grad[1] = wrong
        return loss

    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    monkeypatch.setattr(runner, "_losses", spoilt)
    runner.step(0)
    assert all(torch.equal(before[name], value) for name, value in model.named_parameters())
    assert int(runner.without_gradient) == 1
    monkeypatch.undo()
    runner.step(1)
    assert int(runner.without_gradient) == 1
    assert not torch.equal(before["norm.weight"], norm)


def test_steps_without_a_finite_gradient_are_counted(
    make_plan: Make, folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, spoilt = nn.utils.clip_grad_norm_, iter([False, True, False])
    lines: list[str] = []

    def clipped(parameters: Iterable[nn.Parameter], bound: float) -> Tensor:
        norm = clip(parameters, bound)
        return norm * float("inf") if next(spoilt) else norm

    monkeypatch.setattr(nn.utils, "clip_grad_norm_", clipped)
    plan = make_plan(steps=3, plan={"log_interval": 1})
    train_plan(plan, folder, tmp_path / "run", CODEC, ALONE, tell=lines.append, evaluated_rows=1)
    rows = [json.loads(line) for line in (tmp_path / "run" / LOG_FILE).read_text().splitlines()]
    assert [row.get("without_gradient") for row in rows] == [None, 1, 1]
    assert ["1 without gradient" in line for line in lines if line.startswith("first ")] == [False, True, True]


def test_a_loss_that_is_not_finite_ends_the_run_and_is_not_saved(
    make_plan: Make, folder: DataFolder, tmp_path: Path
) -> None:
    for name, interval in (("told", 1), ("saved", 100)):
        plan = make_plan(
            learning_rate=1e30, clip=1e30, warmup_steps=0, plan={"log_interval": interval, "save_interval": 2}
        )
        with pytest.raises(UserError, match="the loss is not finite any more at step 2") as error:
            train_plan(plan, folder, tmp_path / name, CODEC, ALONE, tell=lambda _: None)
        assert error.value.code == "CHM259"
        assert not (tmp_path / name / STATE_FILE).exists()
