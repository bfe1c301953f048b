"""The dense feed-forward network: ternary SwiGLU (arXiv 2002.05202) with a norm before the down projection."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.layers.chains import gated_product_input
from chimerac.frontends.layers.fusing import is_fusing
from chimerac.frontends.layers.linear import TernaryLinear
from chimerac.frontends.layers.products import joint_product
from chimerac.frontends.layers.quantization import product_dtype
from chimerac.frontends.layers.shapes import QuantizationShape


class SwiGLU(nn.Module):
    """down(norm(silu(gate x) * up x)); x is normed by the block."""

    def __init__(self, hidden: int, width: int, quantization: QuantizationShape, norm_eps: float) -> None:
        super().__init__()
        self.gate_proj = TernaryLinear(hidden, width, quantization)
        self.up_proj = TernaryLinear(hidden, width, quantization)
        self.down_proj = TernaryLinear(width, hidden, quantization, norm_eps=norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., D] -> [..., D]."""
        gate, up = joint_product(x, (self.gate_proj, self.up_proj))
        if is_fusing() and self.down_proj.ternary and (norm := self.down_proj.in_norm) is not None:
            flat = gate.flatten(0, -2), up.flatten(0, -2)
            rounded = gated_product_input(*flat, norm.weight, norm.eps, self.down_proj.block, product_dtype(x))
            return self.down_proj.of_rounded(rounded).view_as(x)
        y: Tensor = self.down_proj(F.silu(gate) * up)
        return y

    def step(self, x: Tensor) -> Tensor:
        """x: [T, D] -> [T, D] as custom operations."""
        return self.down_proj.step(F.silu(self.gate_proj.step(x)) * self.up_proj.step(x))
