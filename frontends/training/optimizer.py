"""AdamW, Lion, and the course of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from chimerac.frontends.families.phases import Phase
from chimerac.frontends.families.protocol import TensorTable

EPSILON = 1e-8
WSD_DECAY = 0.1  #: part of a phase behind its warm-up in which the rate of "wsd" comes down


def parameter_groups(model: nn.Module, table: TensorTable) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters that decay, as the model's table of tensors says, and those that don't."""
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    decaying = {name for name in trained if table.specs[name].decayed}
    return [p for name, p in trained.items() if name in decaying], [p for n, p in trained.items() if n not in decaying]


class Lion(torch.optim.Optimizer):
    """Lion (arXiv 2302.06675): steps of the learning rate's length in the direction of the sign of a momentum.

    u = sign(beta1 m + (1 - beta1) g);  w <- w - lr (u + decay w);  m <- beta2 m + (1 - beta2) g
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step with the gradients that are there."""
        assert closure is None
        for group in self.param_groups:
            rate, decay = group["lr"], group["weight_decay"]
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"]
                update = momentum.mul(beta1).add_(parameter.grad, alpha=1 - beta1).sign_()
                parameter.mul_(1 - rate * decay).add_(update, alpha=-rate)
                momentum.mul_(beta2).add_(parameter.grad, alpha=1 - beta2)


def make_optimizer(model: nn.Module, table: TensorTable, phase: Phase) -> torch.optim.Optimizer:
    """AdamW (arXiv 1711.05101) or Lion with the phase's numbers; the learning rate is set before each step."""
    decaying, others = parameter_groups(model, table)
    groups = [
        {"params": decaying, "weight_decay": phase.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    betas = (phase.beta1, phase.beta2)
    if phase.optimizer == "lion":
        return Lion(groups, phase.learning_rate, betas)
    fused = next(model.parameters()).is_cuda
    return torch.optim.AdamW(groups, lr=phase.learning_rate, betas=betas, eps=EPSILON, fused=fused)


def learning_rate(phase: Phase, step: int, done: float) -> float:
    """Linear warm-up to the peak, then the phase's course down to ``final_rate`` of it.

    Args:
        step: from 0. done: how much of the phase behind its warm-up is over, 0 to 1.
    """
    if step < phase.warmup_steps:
        return phase.learning_rate * (step + 1) / phase.warmup_steps
    done = min(1.0, done)
    left = {
        "cosine": 0.5 * (1 + math.cos(math.pi * done)),
        "linear": 1 - done,
        "wsd": min(1.0, (1 - done) / WSD_DECAY),
        "constant": 1.0,
    }[phase.schedule]
    return phase.learning_rate * (phase.final_rate + (1 - phase.final_rate) * left)
