"""The two ends of N4 and what is between: a table of tokens, decoder layers, and a head that shares nothing with it."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.families.n4.layers import N4D, Past
from chimerac.frontends.families.n4.shape import QUANTIZATION, N4Config
from chimerac.frontends.layers.linear import TiedEmbedding


class N4B(nn.Module):
    """Table and decoder layers; there is no norm behind the last, and no positions anywhere."""

    def __init__(self, config: N4Config) -> None:
        super().__init__()
        if config.ternary:
            self.embedding: nn.Embedding | TiedEmbedding = _int8_table(config)
            nn.init.normal_(self.embedding.weight)
        else:
            self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.n4d = nn.ModuleList(N4D(config) for _ in range(config.layers))

    def table(self) -> Tensor:
        """Rows of tokens as they are looked up, [V, D]."""
        return self.embedding.table() if isinstance(self.embedding, TiedEmbedding) else self.embedding.weight

    def layers(self) -> list[N4D]:
        """The decoder layers."""
        return [layer for layer in self.n4d if isinstance(layer, N4D)]

    def extend(self, ids: Tensor, past: list[Past] | None) -> tuple[Tensor, list[Past]]:
        """ids: [B, T], tokens behind those of ``past`` -> [B, T, D], and the past of all layers."""
        x, kept = F.embedding(ids, self.table()), []
        for number, layer in enumerate(self.layers()):
            x, now = layer.extend(x, None if past is None else past[number])
            kept.append(now)
        return x, kept


def logits_of(head: nn.Linear | TiedEmbedding, hidden: Tensor) -> Tensor:
    """hidden: [..., D] -> float32 [..., V]: the product in the type of the model, then wider."""
    if isinstance(head, TiedEmbedding):
        return head.head(hidden, head.table())
    logits: Tensor = head(hidden)
    return logits.float()


def _int8_table(config: N4Config) -> TiedEmbedding:
    return TiedEmbedding(config.vocab_size, config.hidden_size, QUANTIZATION, "int8")


def head_of(config: N4Config) -> nn.Linear | TiedEmbedding:
    """The head."""
    if not config.ternary:
        return nn.Linear(config.hidden_size, config.vocab_size, bias=config.bias)
    made = _int8_table(config)
    nn.init.kaiming_uniform_(made.weight, a=math.sqrt(5))
    return made
