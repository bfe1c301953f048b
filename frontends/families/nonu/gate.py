"""The gate: a neuron is open if the sigmoid of its pre-activation z exceeds a threshold, decided on the logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from chimerac.frontends.families.nonu.shape import Estimator


def gate(z: Tensor, edge: Tensor | float, ste: Estimator = "shifted") -> Tensor:
    """1 where z > edge, else 0.

    Args:
        z: pre-activations. edge: ln(tau / (1 - tau)).
        ste: the gradient is sigmoid'(z - edge), at most 1/4, at the edge; or 1. (That of sigmoid(z) is 1e-7 there.)
    """
    distance = z - edge
    soft = torch.sigmoid(distance) if ste == "shifted" else distance
    return (distance > 0).to(z.dtype) + (soft - soft.detach())


def hidden(z: Tensor, edge: Tensor | float) -> Tensor:
    """Of an open neuron gelu(z - edge), of a shut one 0: what is compiled."""
    return torch.where(z > edge, F.gelu(z - edge), 0.0)


def trained_hidden(z: Tensor, edge: Tensor | float, ste: Estimator) -> Tensor:
    """``hidden`` with a gradient through the gate."""
    return gate(z, edge, ste) * F.gelu(z - edge)
