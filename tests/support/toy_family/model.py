"""The module of the family ``toy``: whole sequences for training, a few tokens with explicit state for export.

A layer adds out(h) to x: with n = norm(x), z = sigmoid(gate(n)) and v = value(n), per head

    h_t = (1 - z_t) h_{t-1} + z_t v_t
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from chimerac.frontends.families.trainable import TrainableModule
from chimerac.frontends.layers import ops
from chimerac.frontends.layers.linear import GateLinear, TernaryLinear, TiedEmbedding
from chimerac.frontends.layers.norm import RMSNorm
from chimerac.frontends.layers.shapes import EmbeddingFormat, QuantizationShape
from toy_family.family import GROUP, ToyShape

QUANTIZATION = QuantizationShape(group_size=GROUP, block_size=GROUP)
EPSILON = 1e-6


class Recurrence(nn.Module):
    """A layer."""

    def __init__(self, shape: ToyShape) -> None:
        super().__init__()
        channels = shape.channels
        self.norm = RMSNorm(channels, EPSILON)
        self.gate = GateLinear(channels, shape.heads, bias=True)
        self.value = TernaryLinear(channels, channels, QUANTIZATION)
        self.out = TernaryLinear(channels, channels, QUANTIZATION, norm_eps=EPSILON)
        self.heads = shape.heads

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, D] -> [B, T, D], token after token."""
        normed = self.norm(x)
        z = torch.sigmoid(self.gate(normed))[..., None]  # [B, T, H, 1]
        v = self.value(normed).unflatten(-1, (self.heads, -1))  # [B, T, H, d]
        h, states = torch.zeros_like(v[:, 0]), []
        for t in range(x.shape[1]):
            h = h + z[:, t] * (v[:, t] - h)
            states.append(h)
        y: Tensor = x + self.out(torch.stack(states, dim=1).flatten(2))
        return y

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """x: [T, D]; state: [H, 1, d] -> the same. The recurrence is the gated delta rule with the one key 1."""
        normed = self.norm.step(x)
        z = torch.sigmoid(self.gate.step(normed))  # [T, H]
        v = self.value.step(normed).unflatten(-1, (self.heads, -1))
        nothing = torch.zeros_like(z)
        one = (nothing + 1.0)[..., None]  # [T, H, 1]
        h, state = ops.gated_delta(one, one, v, nothing, z, state, 1.0)
        y: Tensor = x + self.out.step(h.flatten(1))
        return y, state


class ToyModel(TrainableModule):
    """The training form."""

    def __init__(self, shape: ToyShape, *, sparse_gradient: bool = False, ternary: bool = True) -> None:
        super().__init__()
        self.shape: ToyShape = shape
        table: EmbeddingFormat = "int8" if ternary else "float32"
        self.embedding = TiedEmbedding(shape.vocabulary, shape.channels, QUANTIZATION, table)
        self.layers = nn.ModuleList(Recurrence(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.channels, EPSILON)
        for module in self.modules():
            if isinstance(module, TernaryLinear):
                module.sparse_gradient, module.ternary = sparse_gradient, ternary

    def table(self) -> Tensor:
        return self.embedding.table()

    def hidden(
        self, tokens: Tensor, table: Tensor, loops: int | Tensor | None = None, *, truncate: bool = True
    ) -> Tensor:
        x = self.embedding.embed(tokens, table)
        for layer in self.layers:
            x = layer(x)
        y: Tensor = self.norm(x)
        return y

    def head(self, hidden: Tensor, table: Tensor) -> Tensor:
        return self.embedding.head(hidden, table)

    def blocks(self) -> Sequence[nn.Module]:
        return list(self.layers)


class ToySteps(nn.Module):
    """The export form; names and storage of its parameters are the model's."""

    def __init__(self, model: ToyModel) -> None:
        super().__init__()
        self.embedding, self.layers, self.norm = model.embedding, model.layers, model.norm
        for layer in range(model.shape.layers):
            self.register_buffer(f"state_{layer}", torch.zeros(model.shape.heads, 1, model.shape.head_width))

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        """tokens: i32 [T]; position: i32 [], which nothing here depends on -> logits [T, V]."""
        x = self.embedding.embed_step(tokens)
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, Recurrence)
            buffer = self.get_buffer(f"state_{number}")
            x, state = layer.step(x, buffer)
            buffer.copy_(state)
        return self.embedding.head_step(self.norm.step(x))


class ToySession:
    """One sequence in PyTorch."""

    def __init__(self, model: ToyModel) -> None:
        self.steps, self.position = ToySteps(model), 0

    @torch.no_grad()
    def step(self, token: int) -> np.ndarray:
        """Logits f32[V] after one more token."""
        logits = self.steps(torch.tensor([token], dtype=torch.int32), torch.tensor(self.position, dtype=torch.int32))
        self.position += 1
        last: np.ndarray = logits[-1].numpy()
        return last
