"""RMS and L2 normalisation; the epsilon is inside the square root, statistics are float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from chimerac.frontends.models import ops
from chimerac.frontends.models.precision import float32_island

L2_EPS = 1e-6  #: added to the squared length of a head's query or key

rms_norm = float32_island(ops.rms_norm_reference)
l2_norm = float32_island(ops.l2_norm_reference)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last axis (arXiv 1910.07467). ``weight``: [size]."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)

    def step(self, x: Tensor) -> Tensor:
        """The same as one custom operation, for the export form. x: [T, size] or [T, H, size]."""
        normed: Tensor = ops.rms_norm(x, self.weight, self.eps)
        return normed
