"""Layers of gated delta rules as frontends/export takes them (arXiv 2412.06464), whose heads may share keys."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.layers import ops
from chimerac.frontends.layers.norm import L2_EPS, RMSNorm
from chimerac.frontends.matrices.forms import Form
from chimerac.frontends.published.products import Projection, untouched
from chimerac.frontends.published.shape import DeltaShape


class GatedDelta(nn.Module):
    """Queries, keys and values through a causal convolution and silu; the rule; a norm of each head, gated by silu(z).

    Attributes:
        conv: [C, taps], of all channels of queries, keys and values; the last column meets the current token.
        decay: -exp(A), [H], of heads of values; dt_bias: [H].
    """

    def __init__(self, delta: DeltaShape, hidden: int, epsilon: float, path: str, forms: Mapping[str, Form]) -> None:
        super().__init__()
        self.delta = delta
        rows = {"qkv_proj": delta.channels, "z_proj": delta.inner, "b_proj": delta.values, "a_proj": delta.values}
        for name, count in rows.items():
            self.add_module(name, Projection(count, hidden, forms[f"{path}{name}.weight"]))
        self.o_proj = Projection(hidden, delta.inner, forms[f"{path}o_proj.weight"])
        self.conv = nn.Parameter(torch.zeros(delta.channels, delta.taps), requires_grad=False)
        self.decay = nn.Parameter(torch.zeros(delta.values), requires_grad=False)
        self.dt_bias = nn.Parameter(torch.zeros(delta.values), requires_grad=False)
        self.norm = RMSNorm(delta.value_width, epsilon)
        self.register_buffer("tail", untouched(delta.taps - 1, delta.channels))
        self.register_buffer("state", untouched(delta.values, delta.key_width, delta.value_width))

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, D] -> [T, D]."""
        delta = self.delta
        tail, state = self.get_buffer("tail"), self.get_buffer("state")
        mixed, new_tail = ops.causal_conv(self.get_submodule("qkv_proj")(x), self.conv, tail)
        tail.copy_(new_tail)
        inner = delta.keys * delta.key_width
        q, k, v = F.silu(mixed).split([inner, inner, delta.inner], dim=-1)
        q, k = (ops.l2_norm(part.unflatten(-1, (delta.keys, delta.key_width)), L2_EPS) for part in (q, k))
        v = v.unflatten(-1, (delta.values, delta.value_width))
        log_decay = self.decay * F.softplus(self.get_submodule("a_proj")(x) + self.dt_bias)
        beta = torch.sigmoid(self.get_submodule("b_proj")(x))
        y, new_state = ops.gated_delta(q, k, v, log_decay, beta, state, delta.key_width**-0.5)
        state.copy_(new_state)
        y = self.norm.step(y) * F.silu(self.get_submodule("z_proj")(x).unflatten(-1, y.shape[1:]))
        if delta.columns_tiled:  # as the columns of the projection are: head h reads the keys h mod G
            y = y.unflatten(1, (delta.keys, -1)).transpose(1, 2)
        out: Tensor = self.o_proj(y.flatten(1))
        return out
