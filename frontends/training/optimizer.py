"""AdamW and the course of its learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from chimerac.frontends.layers.linear import TernaryLinear
from chimerac.frontends.layers.moe import MixtureOfExperts
from chimerac.frontends.training.settings import Phase

EPSILON = 1e-8


def parameter_groups(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters that decay, and those that don't.

    Only the ternary matrices decay: gates, norms, convolutions, memories and the embedding set exponents or scales.
    """
    decaying: dict[int, nn.Parameter] = {}
    for module in model.modules():
        if isinstance(module, TernaryLinear):
            decaying[id(module.weight)] = module.weight
        elif isinstance(module, MixtureOfExperts):
            decaying |= {id(w): w for w in (module.gate_proj, module.up_proj, module.down_proj)}
    trained = [p for p in model.parameters() if p.requires_grad]
    return [p for p in trained if id(p) in decaying], [p for p in trained if id(p) not in decaying]


def make_adamw(model: nn.Module, phase: Phase) -> torch.optim.AdamW:
    """AdamW (arXiv 1711.05101) with the phase's numbers; the learning rate is set before each step."""
    decaying, others = parameter_groups(model)
    groups = [
        {"params": decaying, "weight_decay": phase.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    fused = decaying[0].is_cuda
    betas = (phase.beta1, phase.beta2)
    return torch.optim.AdamW(groups, lr=phase.learning_rate, betas=betas, eps=EPSILON, fused=fused)


def learning_rate(phase: Phase, step: int, done: float) -> float:
    """Linear warm-up to the peak, then half a cosine down to ``final_rate`` of it.

    Args:
        step: from 0. done: how much of the phase behind its warm-up is over, 0 to 1.
    """
    if step < phase.warmup_steps:
        return phase.learning_rate * (step + 1) / phase.warmup_steps
    height = phase.final_rate + (1 - phase.final_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return phase.learning_rate * height
