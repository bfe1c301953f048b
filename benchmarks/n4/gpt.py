"""The peer: a plain pre-norm transformer (GPT-2's, without biases) with as many parameters as N4 of the same sizes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """x += attention(norm(x)); x += network(norm(x))."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.norm_mlp = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, D]."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm_mlp(x))))


class GPT(nn.Module):
    """Learned positions, a norm before the head, a head of its own; matrices begin as N(0, 0.02)."""

    def __init__(self, vocabulary: int, width: int, heads: int, layers: int, length: int) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width, bias=False), nn.Linear(width, vocabulary, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                written = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * layers) ** 0.5 if written else 0.02)

    def forward(self, input: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits float32 [B, T, V] and the mean cross entropy of each token but the first; arguments: [B, T]."""
        x = self.table(input) + self.places(torch.arange(input.shape[1], device=input.device))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x)).float()
        return logits, F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
