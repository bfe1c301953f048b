"""Mixers that turn every channel into queries, keys, values and a gate, and work head by head."""

from __future__ import annotations

from chimerac.frontends.layers.linear import TernaryLinear
from chimerac.frontends.layers.mixer import Mixer
from chimerac.frontends.layers.shapes import MixerShape


class HeadMixer(Mixer):
    """The ternary projections q, k, v, g from D channels to H heads of width d, and the scale d^-1/2 of products."""

    def __init__(self, shape: MixerShape) -> None:
        super().__init__()
        hidden, inner = shape.hidden, shape.heads * shape.head_width
        self.heads, self.head_width = shape.heads, shape.head_width
        self.scale = shape.head_width**-0.5
        self.q_proj = TernaryLinear(hidden, inner, shape.quantization)
        self.k_proj = TernaryLinear(hidden, inner, shape.quantization)
        self.v_proj = TernaryLinear(hidden, inner, shape.quantization)
        self.g_proj = TernaryLinear(hidden, inner, shape.quantization)
