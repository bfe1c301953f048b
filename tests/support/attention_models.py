"""A small language model of attention over caches that it keeps itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from chimerac.frontends.layers import ops


class CachedModel(nn.Module):
    """Bytes, two layers, two query heads for each head of the caches, of so many rows."""

    def __init__(self, context: int, window: int = 0, heads: int = 4, width: int = 8) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.window, self.heads, self.width = window, heads, width
        inner = heads * width
        self.embedding, self.head = nn.Embedding(256, inner), nn.Linear(inner, 256)
        self.joint = nn.ModuleList(nn.Linear(inner, 2 * inner) for _ in range(2))
        for layer in range(2):
            for side in ("key", "value"):
                self.register_buffer(f"{side}_{layer}", torch.zeros(heads // 2, context, width))

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for layer, joint in enumerate(self.joint):
            sizes = [count * self.width for count in (self.heads, self.heads // 2, self.heads // 2)]
            q, k, v = (part.unflatten(1, (-1, self.width)) for part in joint(x).split(sizes, 1))
            q, k = ops.rope(q, position, 1e4), ops.rope(k, position, 1e4)
            caches = self.get_buffer(f"key_{layer}"), self.get_buffer(f"value_{layer}")
            y, *after = ops.cached_attention(q, k, v, *caches, position, self.width**-0.5, self.window)
            for cache, new in zip(caches, after, strict=True):
                cache.copy_(new)
            x = x + y.flatten(1)
        found: Tensor = self.head(x)
        return found
