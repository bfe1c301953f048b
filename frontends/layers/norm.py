"""RMS and L2 normalisation; the epsilon is inside the square root, statistics are float32."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.layers import ops
from chimerac.frontends.layers.precision import float32_island

L2_EPS = 1e-6  #: added to the squared length of a head's query or key


@float32_island
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """ops.rms_norm_reference in one kernel. x: [..., size]; weight: [size], or what broadcasts with x."""
    own = weight if weight.ndim == 1 else None
    normed: Tensor = F.rms_norm(x, x.shape[-1:], own, eps)
    if own is None:
        normed = normed * weight
    return normed


@float32_island
def l2_norm(x: Tensor, eps: float) -> Tensor:
    """ops.l2_norm_reference: the root mean square of d channels is their length over sqrt(d)."""
    size = x.shape[-1]
    normed: Tensor = F.rms_norm(x, (size,), None, eps / size)
    return normed * (1 / math.sqrt(size))


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
