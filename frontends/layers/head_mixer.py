"""Mixers that turn every channel into queries, keys, values and a gate, and work head by head."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from chimerac.frontends.layers.chains import head_product_input
from chimerac.frontends.layers.fusing import is_fusing
from chimerac.frontends.layers.linear import TernaryLinear
from chimerac.frontends.layers.mixer import Mixer
from chimerac.frontends.layers.norm import RMSNorm
from chimerac.frontends.layers.quantization import product_dtype
from chimerac.frontends.layers.shapes import MixerShape


class HeadMixer(Mixer):
    """The ternary projections q, k, v, g from D channels to H heads of width d, and the scale d^-1/2 of products.

    Those that have ``o_norm`` and ``o_proj`` end in ``read_out``.
    """

    o_norm: RMSNorm
    o_proj: TernaryLinear

    def __init__(self, shape: MixerShape) -> None:
        super().__init__()
        hidden, inner = shape.hidden, shape.heads * shape.head_width
        self.heads, self.head_width = shape.heads, shape.head_width
        self.scale = shape.head_width**-0.5
        self.q_proj = TernaryLinear(hidden, inner, shape.quantization)
        self.k_proj = TernaryLinear(hidden, inner, shape.quantization)
        self.v_proj = TernaryLinear(hidden, inner, shape.quantization)
        self.g_proj = TernaryLinear(hidden, inner, shape.quantization)

    def read_out(self, o: Tensor, gate: Tensor, *, smooth: bool) -> Tensor:
        """W_o of the heads' normed answers o [B, T, H, d], opened by a gate [B, T, H * d]: SiLU if ``smooth``, else
        sigmoid."""
        norm = self.o_proj.in_norm
        if is_fusing() and self.o_proj.ternary and norm is not None:
            weights, eps = (self.o_norm.weight, norm.weight), (self.o_norm.eps, norm.eps)
            flat, dtype = (o.flatten(0, 1), gate.flatten(0, 1)), product_dtype(gate)
            rounded = head_product_input(*flat, *weights, eps, smooth, self.o_proj.block, dtype)
            return self.o_proj.of_rounded(rounded).view(*o.shape[:2], -1)
        y: Tensor = self.o_proj(self.o_norm(o).flatten(-2) * (F.silu(gate) if smooth else torch.sigmoid(gate)))
        return y
