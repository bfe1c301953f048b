"""Depthwise causal convolution over time, without bias."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from chimerac.frontends.models import ops
from chimerac.frontends.models.precision import float32_island


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
    tokens = x.shape[1]
    history = torch.cat([tail, x], dim=1)
    y = history[:, :tokens] * weight[:, 0]
    for tap in range(1, weight.shape[1]):
        y = y + history[:, tap : tap + tokens] * weight[:, tap]
    return y, history[:, tokens:]
