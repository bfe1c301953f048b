"""Depthwise causal convolution over time, without bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.layers import ops
from chimerac.frontends.layers.precision import float32_island


class CausalConv(nn.Module):
    """y_t = sum_j weight[:, j] x_{t-W+1+j}. ``weight``: [D, W]; the state is the last W-1 inputs."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, size))

    def initial_tail(self) -> Tensor:
        """Zeros [W-1, D]: what came before the first token."""
        channels, size = self.weight.shape
        return self.weight.new_zeros(size - 1, channels)

    def forward(self, x: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """x: [B, T, D], tail: [B, W-1, D] -> y [B, T, D] and the new tail."""
        return _convolve(x, self.weight, tail)

    def step(self, x: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """The same unbatched, as one custom operation: x [T, D], tail [W-1, D]."""
        y, tail = ops.causal_conv(x, self.weight, tail)
        return y, tail


@float32_island
def _convolve(x: Tensor, weight: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
    history = torch.cat([tail, x], dim=1)
    y: Tensor = _Taps.apply(history, weight)  # type: ignore[no-untyped-call]
    return y, history[:, x.shape[1] :]


class _Taps(torch.autograd.Function):
    """Sums over the taps, forward and backward in one kernel a tap. history: [B, W-1+T, D]; weight: [D, W]."""

    @staticmethod
    def forward(ctx: Any, history: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(history, weight)
        return _tap_sum(history, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        history, weight = ctx.saved_tensors
        before, tokens = weight.shape[1] - 1, gradient.shape[1]
        # what an input adds to the outputs behind it: the same sum, backwards in time
        to_history = _tap_sum(F.pad(gradient, (0, 0, before, before)), weight.flip(1))
        shifted = [history[:, tap : tap + tokens] for tap in range(weight.shape[1])]
        return to_history, torch.stack([(gradient * x).sum((0, 1)) for x in shifted], dim=1)


def _tap_sum(history: Tensor, weight: Tensor) -> Tensor:
    tokens = history.shape[1] - weight.shape[1] + 1
    y = history[:, :tokens] * weight[:, 0]
    for tap in range(1, weight.shape[1]):
        y = y.addcmul_(history[:, tap : tap + tokens], weight[:, tap])
    return y


def joint_convolution(
    x: Tensor, layers: Sequence[CausalConv], tails: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Several layers on their own channels of x [B, T, sum of D], at once -> the same shape, and the tails."""
    y, tail = _convolve(x, torch.cat([layer.weight for layer in layers]), torch.cat(list(tails), dim=-1))
    return y, torch.split(tail, [layer.weight.shape[0] for layer in layers], dim=-1)
