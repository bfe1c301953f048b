"""Products of a Nonu model's layers as training has them: rounded as once compiled, with gradients straight through.

Weights and activations of ``ternary`` and ``int8`` have scales as of frontends/layers/quantization.py; the second
matrix of a network lies neuron by neuron, [F, h], so that a scale is for some outputs of one neuron, and what its
neurons give stays float.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from chimerac.frontends.families.nonu.shape import BLOCK, GROUP, Weights
from chimerac.frontends.layers.quantization import (
    straight_through_activations,
    straight_through_int8,
    straight_through_ternary,
)


@dataclass(frozen=True)
class Rounding:
    """Of the matrices of layers.

    Attributes:
        format: f32 rounds nothing.
        sparse_gradient: see quantization.straight_through_ternary.
    """

    format: Weights
    sparse_gradient: bool = False

    def weight(self, weight: Tensor) -> Tensor:
        """A matrix as products see it, in groups along its last axis."""
        if self.format == "ternary":
            return straight_through_ternary(weight, GROUP, self.sparse_gradient)
        return straight_through_int8(weight, GROUP) if self.format == "int8" else weight

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """x [..., K] times weight [N, K] -> [..., N], float32 at least."""
        given = x if self.format == "f32" else straight_through_activations(x, BLOCK)
        return _wide(F.linear(given, self.weight(weight)))

    def gather(self, inner: Tensor, weight: Tensor) -> Tensor:
        """What neurons [..., F] give with their rows [F, h] -> [..., h], float32 at least."""
        return _wide(inner @ self.weight(weight))


def _wide(y: Tensor) -> Tensor:
    """Under autocast products are of 16 bits, too few for what stands near a threshold of -16."""
    return y.float() if y.dtype.itemsize < 4 else y
