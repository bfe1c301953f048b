"""The layers of N4: a norm by tanh, attention over running means of gated keys, and a network with a double gate.

Names of modules and parameters are those of the official state dict.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.families.n4.counting import running_means
from chimerac.frontends.families.n4.shape import QUANTIZATION, N4Config
from chimerac.frontends.layers.linear import TernaryLinear


class DyT(nn.Module):
    """weight * tanh(x), the norm of arXiv 2503.10622 without its factor in the tanh and its bias. ``weight``: [D]."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * torch.tanh(x)


@dataclass(frozen=True)
class Past:
    """What attention keeps of N tokens before: ``keys`` (running means, float32) and ``values``, [B, H, N, dh] each."""

    keys: Tensor
    values: Tensor


class N4(nn.Module):
    """Attention of each token to the running means of the gated keys up to itself and each token before it.

    Attributes:
        norm: part of official checkpoints that no formula uses; kept, so that they can be read and written.
    """

    def __init__(self, config: N4Config) -> None:
        super().__init__()
        self.qkvh_linear = linear(config, config.hidden_size, 3 * config.hidden_size + config.heads)
        self.out_linear = linear(config, config.hidden_size, config.hidden_size)
        self.norm = DyT(config.head_width)
        self.heads, self.scale, self.counter = config.heads, config.scale, config.counter

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x: [..., 3 D + H], what ``qkvh_linear`` gave -> queries, gated keys and values, [..., H, dh] each.

        Each head has its query, key and value side by side; the gates of all heads come last.
        """
        width = x.shape[-1] - self.heads
        q, k, v = x[..., :width].unflatten(-1, (self.heads, 3, -1)).unbind(-2)
        return q, torch.tanh(x[..., width:])[..., None] * k, v

    def extend(self, x: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        """x: [B, T, D], normed; ``past``: of the tokens before, None without any -> [B, T, D] and the past of all."""
        parts = self.project(self.qkvh_linear(x))  # whose rows are not aligned as attention on CUDA wants them
        q, k, v = (part.transpose(1, 2).contiguous() for part in parts)  # [B, H, T, dh]
        if past is None:
            now = Past(running_means(k, self.counter), v)
            y = F.scaled_dot_product_attention(q, now.keys.to(v.dtype), v, is_causal=True, scale=self.scale)
        else:
            first = past.keys.shape[2]
            means = running_means(k, self.counter, past.keys[:, :, -1:], first)
            now = Past(torch.cat([past.keys, means], 2), torch.cat([past.values, v], 2))
            seen = torch.ones(x.shape[1], now.keys.shape[2], dtype=torch.bool, device=x.device).tril(first)
            y = F.scaled_dot_product_attention(q, now.keys.to(v.dtype), now.values, attn_mask=seen, scale=self.scale)
        return self.out_linear(y.transpose(1, 2).flatten(2)), now

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, D], normed -> [B, T, D]."""
        return self.extend(x, None)[0]


class MLP(nn.Module):
    """down(gelu(ref) * sigmoid(gate) * value) with (gate, ref, value) = up(x): adaptive Swish-GELU gating (ASGG)."""

    def __init__(self, config: N4Config) -> None:
        super().__init__()
        self.up_proj = linear(config, config.hidden_size, 3 * config.inter_size)
        self.down_proj = linear(config, config.inter_size, config.hidden_size)
        for part in (self.up_proj, self.down_proj):
            nn.init.kaiming_normal_(part.weight, a=math.sqrt(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, D], normed -> [B, T, D]."""
        y: Tensor = self.down_proj(gated(self.up_proj(x)))
        return y


def gated(x: Tensor) -> Tensor:
    """x: [..., 3 F], gate, reference and value one after the other -> [..., F]."""
    gate, reference, value = x.chunk(3, -1)
    return F.gelu(reference) * (torch.sigmoid(gate) * value)


class N4D(nn.Module):
    """A decoder layer: both branches are normed before and after."""

    def __init__(self, config: N4Config) -> None:
        super().__init__()
        self.n4, self.mlp = N4(config), MLP(config)
        self.pre_mlp_norm, self.post_mlp_norm = DyT(config.hidden_size), DyT(config.hidden_size)
        self.pre_n4_norm, self.post_n4_norm = DyT(config.hidden_size), DyT(config.hidden_size)

    def extend(self, x: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        """x: [B, T, D] and the past of the tokens before -> the same."""
        y, now = self.n4.extend(self.pre_n4_norm(x), past)
        x = self.post_n4_norm(y) + x
        return self.post_mlp_norm(self.mlp(self.pre_mlp_norm(x))) + x, now

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, D] -> [B, T, D]."""
        return self.extend(x, None)[0]


def linear(config: N4Config, inputs: int, outputs: int) -> nn.Linear | TernaryLinear:
    """A product of the float or the ternary variant, with the first values of ``nn.Linear``."""
    if not config.ternary:
        return nn.Linear(inputs, outputs, bias=config.bias)
    made = TernaryLinear(inputs, outputs, QUANTIZATION)
    nn.init.kaiming_uniform_(made.weight, a=math.sqrt(5))
    return made
