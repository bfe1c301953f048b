"""The export form of N4: a call of a few tokens, with running means and caches in buffers that forward overwrites."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.families.n4.body import N4B
from chimerac.frontends.families.n4.counting import recurrence
from chimerac.frontends.families.n4.layers import N4D, gated
from chimerac.frontends.families.n4.shape import N4Config
from chimerac.frontends.layers import ops
from chimerac.frontends.layers.linear import TernaryLinear, TiedEmbedding
from chimerac.frontends.layers.scan import scan


class N4Steps(nn.Module):
    """The model token by token; names and storage of its parameters are the model's.

    State of a layer: ``mean_i`` [H, dh], the mean of the gated keys up to now; ``keys_i`` and ``values_i`` [H, N, dh],
    the means and values of all tokens before. N is the context.
    """

    counts: Tensor

    def __init__(self, body: N4B, head: nn.Linear | TiedEmbedding, config: N4Config) -> None:
        super().__init__()
        self.n4b, self.lm_head, self.config = body, head, config
        self.register_buffer("counts", torch.from_numpy(recurrence(config.context, config.counter)))
        cache = config.heads, config.context, config.head_width
        for layer in range(config.layers):
            self.register_buffer(f"mean_{layer}", torch.zeros(config.heads, config.head_width))
            self.register_buffer(f"keys_{layer}", torch.zeros(cache))
            self.register_buffer(f"values_{layer}", torch.zeros(cache))

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        """tokens: i32 [T]; position: i32 [], of the first of them -> logits [T, V]."""
        embedding = self.n4b.embedding
        x = embedding.embed_step(tokens) if isinstance(embedding, TiedEmbedding) else embedding(tokens)
        counts = F.embedding(position + torch.arange(tokens.shape[0], dtype=torch.int32), self.counts)
        for number, layer in enumerate(self.n4b.layers()):
            x = self._layer(number, layer, x, counts, position)
        if isinstance(self.lm_head, TiedEmbedding):
            return self.lm_head.head_step(x)
        logits: Tensor = self.lm_head(x)
        return logits

    def _layer(self, number: int, layer: N4D, x: Tensor, counts: Tensor, position: Tensor) -> Tensor:
        """x: [T, D] -> [T, D]; counts: [T, 2]."""
        mean, keys, values = (self.get_buffer(f"{name}_{number}") for name in ("mean", "keys", "values"))
        q, k, v = layer.n4.project(_product(layer.n4.qkvh_linear, layer.pre_n4_norm(x)))
        keep, add = counts[:, 0], counts[:, 1]
        last, means = scan(_running, mean, (keep, add[:, None, None] * k))
        y, kept, held = ops.cached_attention(q, means, v, keys, values, position, layer.n4.scale, 0)
        mean.copy_(last)
        keys.copy_(kept)
        values.copy_(held)
        x = layer.post_n4_norm(_product(layer.n4.out_linear, y.flatten(1))) + x
        inner = gated(_product(layer.mlp.up_proj, layer.pre_mlp_norm(x)))
        found: Tensor = layer.post_mlp_norm(_product(layer.mlp.down_proj, inner)) + x
        return found


def _running(mean: Tensor, row: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    keep, added = row
    mean = keep * mean + added
    return mean, mean


def _product(layer: nn.Linear | TernaryLinear, x: Tensor) -> Tensor:
    if isinstance(layer, TernaryLinear):
        return layer.step(x)
    y: Tensor = layer(x)
    return y
