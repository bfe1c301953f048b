"""The preference loss: closed form, and that training moves the answers apart."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from training_tools import ALONE, model_of

from chimerac.frontends.training import Plan
from chimerac.frontends.training.data import DataFolder
from chimerac.frontends.training.dpo import preference_loss, row_sums
from chimerac.frontends.training.loop import PhaseRunner, prepare


def test_closed_form() -> None:
    policy, reference = torch.tensor([-3.0, -5.0, -1.0, -1.0]), torch.tensor([-4.0, -4.0, -1.0, -1.0])
    expected = -math.log(1 / (1 + math.exp(-0.1 * 2))) + math.log(2)
    assert float(preference_loss(policy, reference, 0.1)) == pytest.approx(expected)


def test_row_sums() -> None:
    logs, positions = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0, 4, 5, 14])
    assert row_sums(logs, positions, 3, 5).tolist() == [3.0, 3.0, 4.0]


def test_the_loss_starts_at_log_two_and_falls(make_plan: Callable[..., Plan], folder: DataFolder) -> None:
    phase = {"kind": "dpo", "steps": 12, "sequence_length": 24, "learning_rate": 3e-3, "weight_decay": 0.0}
    plan = make_plan(**phase, micro_tokens=100)
    model = model_of(plan, 0)
    runner = PhaseRunner(plan, 0, model, prepare(model, plan, ALONE), folder.source(plan.phases[0], 260, 0), ALONE)
    biases = [b for name, b in model.named_buffers() if name.endswith("router_bias")]
    before = [bias.clone() for bias in biases]
    losses = [float(runner.step(number)[0]) for number in range(12)]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6)
    assert losses[-1] < 0.6
    assert biases
    assert all(torch.equal(a, b) for a, b in zip(before, biases, strict=True))
    assert runner.reference is not None
    assert all(p.grad is None for p in runner.reference.parameters())
