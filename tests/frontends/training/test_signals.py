"""The backward pass comes by Python often enough to be interrupted, and computes what it did."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from training_tools import ALONE, model_of

from chimerac.frontends.training import Plan, signals
from chimerac.frontends.training.data import DataFolder
from chimerac.frontends.training.loop import PhaseRunner, prepare

Make = Callable[..., Plan]


def gradients(
    plan: Plan, folder: DataFolder, monkeypatch: pytest.MonkeyPatch, look: Callable[[Tensor], None]
) -> list[Tensor]:
    """Of the first step, with this function where signals are looked at."""
    monkeypatch.setattr(signals, "_nothing", look)
    model = model_of(plan)
    runner = PhaseRunner(plan, 0, model, prepare(model, plan, ALONE), folder.source(plan.phases[0], 260, 0), ALONE)
    runner.step(0)
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_backward_pass_can_be_interrupted_in_many_places(
    make_plan: Make, folder: DataFolder, monkeypatch: pytest.MonkeyPatch, checkpointing: bool
) -> None:
    plan = make_plan(plan={"checkpointing": checkpointing})
    places: list[Tensor] = []
    looked = gradients(plan, folder, monkeypatch, places.append)
    blocks = len(model_of(plan).blocks())
    assert len(places) > 3 * blocks

    def interrupt(gradient: Tensor) -> None:
        places.pop()
        if len(places) == blocks:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gradients(plan, folder, monkeypatch, interrupt)
    monkeypatch.setattr("chimerac.frontends.training.loop.look_at_signals", lambda model: None)
    plain = gradients(plan, folder, monkeypatch, interrupt)
    assert all(torch.equal(a, b) for a, b in zip(looked, plain, strict=True)), "no gradient changes"
