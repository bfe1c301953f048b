"""Language models of PyTorch's own recurrent layers, with the state in buffers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

VOCABULARY = 20


class RecurrentModel(nn.Module):
    """Embedding, LSTM, GRU or RNN, head; a call goes on from where the last one ended."""

    h: Tensor
    c: Tensor

    def __init__(
        self, kind: Callable[..., nn.RNNBase], layers: int = 1, *, width: int = 12, seed: int = 1, **how: Any
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(VOCABULARY, 8)
        self.layers = kind(8, width, layers, **how)
        out = int(how.get("proj_size", 0)) or width
        self.head = nn.Linear(out, VOCABULARY)
        self.register_buffer("h", torch.zeros(layers, out))
        self.register_buffer("c", torch.zeros(layers, width))
        self.eval().requires_grad_(False)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        x = self.embedding(tokens)
        if isinstance(self.layers, nn.LSTM):
            x, (h, c) = self.layers(x, (self.h, self.c))
            self.c.copy_(c)
        else:
            x, h = self.layers(x, self.h)
        self.h.copy_(h)
        logits: Tensor = self.head(x)
        return logits
