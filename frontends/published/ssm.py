"""Layers of state spaces as frontends/export takes them: Mamba-2 (arXiv 2405.21060), one decay a head."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.layers import ops
from chimerac.frontends.matrices.forms import Form
from chimerac.frontends.published.products import Projection, untouched
from chimerac.frontends.published.shape import SsmShape


class StateSpace(nn.Module):
    """S = exp(A dt) S + B (dt x); y = C S + D x, with x, B and C behind a causal convolution and silu; then a norm of
    y silu(z).

    Attributes:
        conv: [C, taps], of all channels of x, B and C; the last column meets the current token. conv_bias: [C].
        decay: -exp(A_log), dt_bias, skip (D): [H].
        norm: [inner], of groups of channels that are normed together.
    """

    def __init__(self, ssm: SsmShape, hidden: int, epsilon: float, path: str, forms: Mapping[str, Form]) -> None:
        super().__init__()
        self.ssm, self.epsilon = ssm, epsilon
        for name, rows in (("xbc_proj", ssm.channels), ("z_proj", ssm.inner), ("dt_proj", ssm.heads)):
            self.add_module(name, Projection(rows, hidden, forms[f"{path}{name}.weight"], bias=ssm.bias))
        self.o_proj = Projection(hidden, ssm.inner, forms[f"{path}o_proj.weight"], bias=ssm.bias)
        for name in ("decay", "dt_bias", "skip"):
            self.register_parameter(name, nn.Parameter(torch.zeros(ssm.heads), requires_grad=False))
        self.conv = nn.Parameter(torch.zeros(ssm.channels, ssm.taps), requires_grad=False)
        self.conv_bias = nn.Parameter(torch.zeros(ssm.channels), requires_grad=False) if ssm.conv_bias else None
        self.norm = nn.Parameter(torch.ones(ssm.inner), requires_grad=False)
        self.register_buffer("one", torch.ones(ssm.inner // ssm.groups), persistent=False)
        self.register_buffer("tail", untouched(ssm.taps - 1, ssm.channels))
        self.register_buffer("state", untouched(ssm.heads, ssm.state, ssm.width))

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, D] -> [T, D]."""
        ssm = self.ssm
        tail, state = self.get_buffer("tail"), self.get_buffer("state")
        mixed, new_tail = ops.causal_conv(self.get_submodule("xbc_proj")(x), self.conv, tail)
        tail.copy_(new_tail)
        mixed = F.silu(mixed if self.conv_bias is None else mixed + self.conv_bias)
        own, b, c = mixed.split([ssm.inner, ssm.groups * ssm.state, ssm.groups * ssm.state], dim=-1)
        b, c = (part.unflatten(-1, (ssm.groups, ssm.state)) for part in (b, c))
        own = own.unflatten(-1, (ssm.heads, ssm.width))
        step = F.softplus(self.get_submodule("dt_proj")(x) + self.get_parameter("dt_bias"))
        if ssm.least is not None or ssm.most is not None:
            step = step.clamp(ssm.least, ssm.most)
        log_decay = self.get_parameter("decay") * step
        y, new_state = ops.gated_linear_attention(c, b, own * step[:, :, None], log_decay, state, 1.0)
        state.copy_(new_state)
        y = y + own * self.get_parameter("skip")[:, None]
        y = y.flatten(1) * F.silu(self.get_submodule("z_proj")(x))
        one = self.get_buffer("one")
        normed: Tensor = ops.rms_norm(y.unflatten(1, (ssm.groups, -1)), one, self.epsilon).flatten(1) * self.norm
        out: Tensor = self.o_proj(normed)
        return out
