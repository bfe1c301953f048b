"""Modules that use the ops; who imports this file has them registered."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import own_ops

own_ops.register()


class Speaks(nn.Module):
    """A language model."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(256, 16), nn.Linear(8, 256)
        self.weight = nn.Parameter(torch.randn(8))

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        total, difference = own_ops.halves(own_ops.squash(self.table(tokens), 0.75), self.weight)
        logits: Tensor = self.head(total * difference)
        return logits


class Filters(nn.Module):
    """Tensors in, tensors out."""

    def example(self) -> tuple[Tensor, ...]:
        return (torch.zeros(3, 8),)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = own_ops.squash(x)
        return y
