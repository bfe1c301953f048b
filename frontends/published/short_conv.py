"""Layers of short convolutions as frontends/export takes them: what LFM2 has in place of most attention."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from chimerac.frontends.layers import ops
from chimerac.frontends.matrices.forms import Form
from chimerac.frontends.published.products import Projection, untouched


class ShortConv(nn.Module):
    """out(c * conv(b * x)), with b, c and x of one projection; the convolution is causal, each channel by itself.

    Attributes:
        conv: [D, taps]; the last column meets the current token.
    """

    def __init__(self, hidden: int, taps: int, path: str, forms: Mapping[str, Form]) -> None:
        super().__init__()
        self.in_proj = Projection(3 * hidden, hidden, forms[f"{path}in_proj.weight"])
        self.o_proj = Projection(hidden, hidden, forms[f"{path}o_proj.weight"])
        self.conv = nn.Parameter(torch.zeros(hidden, taps), requires_grad=False)
        self.register_buffer("tail", untouched(taps - 1, hidden))

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, D] -> [T, D]."""
        tail = self.get_buffer("tail")
        before, behind, inner = self.in_proj(x).chunk(3, dim=-1)
        y, new_tail = ops.causal_conv(before * inner, self.conv, tail)
        tail.copy_(new_tail)
        out: Tensor = self.o_proj(behind * y)
        return out
