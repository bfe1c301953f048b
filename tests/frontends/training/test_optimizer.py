"""What decays, and the course of the learning rate."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from chimera_weights import initialise
from training_tools import TINY

from chimerac.frontends.families.chimera.family import FAMILY
from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.families.protocol import TensorSpec, TensorTable
from chimerac.frontends.layers.prepared import PreparedWeights
from chimerac.frontends.training import Phase
from chimerac.frontends.training.optimizer import Lion, learning_rate, make_optimizer, parameter_groups

PHASE = Phase("p", learning_rate=2e-3, warmup_steps=10, final_rate=0.1)


def test_only_ternary_matrices_decay() -> None:
    model = ChimeraModel(TINY)
    decaying, others = parameter_groups(model, FAMILY.tensors(TINY))
    names = {id(p): name for name, p in model.named_parameters()}
    decayed = {names[id(p)] for p in decaying}
    kept = {names[id(p)] for p in others}
    assert decayed | kept == set(names.values())
    assert not decayed & kept
    assert "layers.0.mixer.q_proj.weight" in decayed
    assert "layers.1.ffn.gate_proj" in decayed
    assert {"embedding.weight", "layers.0.mixer.a_proj.weight", "layers.0.mixer.q_conv.weight"} <= kept
    assert {"layers.1.ffn.router.weight", "layers.1.mixer.memory_init", "layers.1.ffn.down_norm"} <= kept
    assert not any("norm" in name or name.endswith(("bias", "A_log")) for name in decayed)


def test_one_step_follows_the_formula() -> None:
    """AdamW's first step moves by lr * sign(gradient), after shrinking by lr * decay."""
    model = ChimeraModel(TINY)
    initialise(model, 0)
    phase = Phase("p", learning_rate=1e-2, weight_decay=0.5)
    optimizer = make_optimizer(model, FAMILY.tensors(TINY), phase)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, -3.0)
    optimizer.step()
    for name, decay in (("layers.0.mixer.q_proj.weight", 0.5), ("embedding.weight", 0.0)):
        expected = before[name] * (1 - 1e-2 * decay) + 1e-2
        torch.testing.assert_close(dict(model.named_parameters())[name].detach(), expected, rtol=1e-5, atol=1e-7)


def test_rate_rises_then_falls_by_a_cosine() -> None:
    rates = [learning_rate(PHASE, step, (step - 10) / 100) for step in range(110)]
    assert rates[0] == pytest.approx(2e-4)
    assert rates[9] == rates[10] == pytest.approx(2e-3)
    assert rates[60] == pytest.approx(2e-3 * (0.1 + 0.9 * 0.5))
    assert rates[-1] == pytest.approx(2e-3 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.99))))
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def test_lion_follows_the_papers_rule() -> None:
    """Three steps of arXiv 2302.06675, algorithm 2, by hand: rate 0.1, betas 0.9 and 0.99, decay 0.5, weight 1."""
    weight = torch.nn.Parameter(torch.tensor([1.0, 1.0, 0.0]))
    optimizer = Lion([{"params": [weight], "weight_decay": 0.5}], 0.1, (0.9, 0.99))
    momentum = [0.0, 0.0, 0.0]
    expected = [1.0, 1.0, 0.0]
    for gradients in ([2.0, -0.5, 0.0], [-0.1, 4.0, 0.0], [-9.0, -0.2, 1e-8]):
        weight.grad = torch.tensor(gradients)
        optimizer.step()
        for i, g in enumerate(gradients):
            update = 0.9 * momentum[i] + 0.1 * g
            sign = (update > 0) - (update < 0)
            expected[i] = expected[i] * (1 - 0.1 * 0.5) - 0.1 * sign
            momentum[i] = 0.99 * momentum[i] + 0.01 * g
        torch.testing.assert_close(weight.detach(), torch.tensor(expected))
    # after the first step: 1 * 0.95 - 0.1, and the second gradient of the first weight, being small, turned no sign
    assert expected[0] == pytest.approx(((1 * 0.95 - 0.1) * 0.95 - 0.1) * 0.95 + 0.1)
    torch.testing.assert_close(optimizer.state[weight]["momentum"], torch.tensor(momentum))


def test_lion_decays_what_adamw_decays() -> None:
    model = ChimeraModel(TINY)
    phase = Phase("p", optimizer="lion", learning_rate=1e-2, weight_decay=0.5, beta2=0.99)
    optimizer = make_optimizer(model, FAMILY.tensors(TINY), phase)
    assert isinstance(optimizer, Lion)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]
    groups = parameter_groups(model, FAMILY.tensors(TINY))
    assert [len(group["params"]) for group in optimizer.param_groups] == [len(group) for group in groups]


def test_a_model_without_ternary_matrices_is_trained_too() -> None:
    model = torch.nn.Linear(2, 3)
    table = TensorTable({"weight": TensorSpec((3, 2), "float32"), "bias": TensorSpec((3,), "float32")}, 1)
    before = model.weight.detach().clone()
    with PreparedWeights(model, torch.float32):
        model(torch.ones(1, 2)).sum().backward()
    make_optimizer(model, table, Phase("p", learning_rate=1e-2, weight_decay=0.5)).step()
    torch.testing.assert_close(model.weight.detach(), before - 1e-2)  # no decay; every gradient is 1


@pytest.mark.parametrize(
    ("schedule", "heights"),
    [
        ("cosine", [1, 0.5 * (1 + math.cos(math.pi * 0.25)), 0.5, 0.5 * (1 + math.cos(math.pi * 0.95)), 0]),
        ("linear", [1, 0.75, 0.5, 0.05, 0]),
        ("wsd", [1, 1, 1, 0.5, 0]),
        ("constant", [1, 1, 1, 1, 1]),
    ],
)
def test_schedules(schedule: Any, heights: list[float]) -> None:
    phase = Phase("p", learning_rate=2e-3, warmup_steps=10, final_rate=0.2, schedule=schedule)
    found = [learning_rate(phase, 10, done) / 2e-3 for done in (0, 0.25, 0.5, 0.95, 1)]
    assert found == pytest.approx([0.2 + 0.8 * height for height in heights])
    assert learning_rate(phase, 4, -0.1) == pytest.approx(2e-3 * 5 / 10)
