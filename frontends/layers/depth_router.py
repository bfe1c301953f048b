"""How often a block of tokens loops, predicted from the token before it (docs/valve.md)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.layers import ops
from chimerac.frontends.layers.linear import float32_linear
from chimerac.frontends.layers.quantization import straight_through_activations, straight_through_int8
from chimerac.frontends.layers.shapes import QuantizationShape, RouterShape


class Int8Linear(nn.Module):
    """y = x W^T + b with int8 weights [N, K] and activations."""

    def __init__(self, inputs: int, outputs: int, quantization: QuantizationShape) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(outputs, inputs)), nn.Parameter(torch.zeros(outputs))
        self.group, self.block = quantization.group_size, quantization.block_size

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., K] -> float32 [..., N]."""
        rounded = straight_through_activations(x, self.block, torch.float32)
        return float32_linear(rounded, straight_through_int8(self.weight, self.group), self.bias)

    def step(self, x: Tensor) -> Tensor:
        """x: [T, K] -> [T, N] as custom operations."""
        y: Tensor = ops.int8_linear(x, self.weight, self.group, self.block)
        return y + self.bias


class DepthRouter(nn.Module):
    """Scores of the loop counts, fewest first: W2 relu(W1 e + b1) + b2, e being the normed output of the prelude.

    A classifier of fixed-depth computation on features that training it does not change, as the causal predictor of
    Mixture-of-Depths (arXiv 2404.02258, 3.5). Scores that are all equal, as of one that is not trained, stand for the
    largest count.
    """

    def __init__(self, hidden: int, shape: RouterShape, classes: int, quantization: QuantizationShape) -> None:
        super().__init__()
        self.classes, self.accuracy_target = classes, shape.accuracy_target
        self.inner = Int8Linear(hidden, shape.width, quantization)
        self.scores = Int8Linear(shape.width, classes, quantization)

    def forward(self, features: Tensor) -> Tensor:
        """features: [..., D] -> [..., counts]."""
        scores: Tensor = self.scores(F.relu(self.inner(features)))
        return scores

    def choice(self, features: Tensor) -> Tensor:
        """The index of the count with the best score, of equal ones the largest: int64 [...] of features [..., D]."""
        best: Tensor = self(features).flip(-1).argmax(-1)
        return self.classes - 1 - best

    @torch.no_grad()
    def close(self) -> None:
        """Let it stand for the largest count always."""
        for parameter in self.scores.parameters():
            parameter.zero_()

    def step(self, features: Tensor) -> Tensor:
        """features: [T, D] -> [T, counts] as custom operations."""
        return self.scores.step(F.relu(self.inner.step(features)))
