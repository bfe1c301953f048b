"""A cheap guess of which neurons are open, so that the rows of the others need not be read: ternary, of low rank.

``p = C (A x) + c``, a logit for each neuron, A [r, h] and C [F, r] of trits; rows of the first matrix are computed
where ``p > LEAST``, and the others are taken for shut. That is part of the model: training has it, so what is compiled
misses no neuron that training had. The guess learns to imitate the gate, by the gradient of a cross entropy, and from
nothing else; the rest of the model gets no gradient from that.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from chimerac.frontends.families.nonu.rounding import Rounding
from chimerac.frontends.families.nonu.shape import BLOCK, GROUP, NonuConfig
from chimerac.frontends.layers import ops
from chimerac.frontends.layers.quantization import FLOOR

SLACK = 1e-4  #: of a bound, for the rounding of what is near a threshold of -16
LEAST = math.log(0.1 / 0.9)  #: rows are computed of neurons that are open with a probability of a tenth, or more


def spread_of(inputs: int) -> float:
    """Of the first values of a matrix, which leaves products as large as what they are made of."""
    return 1 / math.sqrt(inputs)


def most_of(x: Tensor, weight: Tensor) -> Tensor:
    """What ``x [T, h] · weight [F, h]`` is at most, [T, F], by int8 codes of both and the lengths of what they leave.

    |x · w - x' · w'| <= |x| |w - w'| + |x - x'| |w'|, and a code of x is within half a step of it.
    """
    lengths = ops.int8_row_lengths(weight, GROUP)
    size = (x * x).sum(-1, keepdim=True).sqrt()
    rounded = x.abs().amax(-1, keepdim=True).clamp(min=FLOOR) * (math.sqrt(x.shape[-1]) / 254)
    near: Tensor = ops.int8_linear(x, weight, GROUP, BLOCK)
    most: Tensor = near + size * lengths[:, 0] + rounded * lengths[:, 1] + SLACK
    return most


class Predictor(nn.Module):
    """``first`` [r, h], ``second`` [F, r], ``bias`` [F], which is 0 at first, so that every row is computed."""

    def __init__(self, config: NonuConfig) -> None:
        super().__init__()
        rank = config.predictor_rank
        self.first = nn.Parameter(torch.empty(rank, config.hidden_size))
        self.second = nn.Parameter(torch.empty(config.neurons, rank))
        self.bias = nn.Parameter(torch.zeros(config.neurons))
        self.rounding = Rounding("ternary")
        for matrix in (self.first, self.second):
            nn.init.normal_(matrix, 0.0, spread_of(matrix.shape[1]))

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., h] -> logits [..., F], float32; x gets no gradient."""
        inner = self.rounding.product(x.detach(), self.first)
        return self.rounding.product(inner, self.second) + self.bias

    def step(self, x: Tensor) -> Tensor:
        """x: [T, h] -> [T, F] as custom operations."""
        inner = ops.ternary_linear(x, self.first, GROUP, BLOCK)
        y: Tensor = ops.ternary_linear(inner, self.second, GROUP, BLOCK) + self.bias
        return y


def chosen_only(inner: Tensor, guess: Tensor, is_open: Tensor) -> Tensor:
    """``inner`` [..., F] where the guess chose it, 0 elsewhere; the guess learns what was open, bool [..., F]."""
    found: Tensor = _Chosen.apply(inner, guess, is_open)  # type: ignore[no-untyped-call]
    return found


class _Chosen(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inner: Tensor, guess: Tensor, is_open: Tensor) -> Tensor:
        ctx.save_for_backward(guess, is_open)
        return torch.where(guess > LEAST, inner, 0.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        guess, is_open = ctx.saved_tensors
        tokens, neurons = guess.numel() // guess.shape[-1], guess.shape[-1]
        learned = (torch.sigmoid(guess) - is_open.to(guess.dtype)) / (tokens * math.sqrt(neurons))
        return torch.where(guess > LEAST, gradient, 0.0), learned, None
