"""The export form of a Nonu model: a call of a few tokens, its state in buffers that forward overwrites."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.families.nonu.gate import hidden
from chimerac.frontends.families.nonu.layers import THETA, NonuLayer, NonuMlp, linear_features
from chimerac.frontends.families.nonu.predictor import LEAST, most_of
from chimerac.frontends.families.nonu.shape import BLOCK, GROUP, NonuConfig
from chimerac.frontends.layers import ops
from chimerac.frontends.layers.norm import RMSNorm
from chimerac.frontends.layers.scan import scan


class NonuSteps(nn.Module):
    """The model token by token, sharing its parameters.

    State of a layer: ``keys_i`` and ``values_i`` [H, N, d], N the most tokens of a text; of linear attention ``sums_i``
    [H, d, d + 1], keys times values and, last, the keys.
    """

    def __init__(self, parts: Mapping[str, nn.Module], config: NonuConfig) -> None:
        """``parts`` of a model by their names in it."""
        super().__init__()
        self.config = config
        self.project, self.unproject = parts["project"], parts["unproject"]
        self.layers, self.norm = parts["layers"], parts["norm"]
        self.embedding, self.output = parts["embedding"], parts.get("output")
        heads, width = config.num_heads, config.head_width
        for layer in range(config.num_layers):
            if config.attention == "linear":
                self.register_buffer(f"sums_{layer}", torch.zeros(heads, width, width + 1))
            else:
                self.register_buffer(f"keys_{layer}", torch.zeros(heads, config.max_position, width))
                self.register_buffer(f"values_{layer}", torch.zeros(heads, config.max_position, width))

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        """tokens: i32 [T]; position: i32 [], of the first of them -> logits [T, V]."""
        rule = (self.config.embedding_levels, self.config.embedding_range)
        x = self.project(ops.levels_embedding(tokens, self.embedding.weight, *rule))
        for number, layer in enumerate(self.layers.children()):
            assert isinstance(layer, NonuLayer)
            y = x + self._attention(number, layer, layer.attention_norm.step(x), position)
            x = layer.joined(y, self._neurons(layer, layer.mlp_norm.step(y)))
        head = self.embedding if self.output is None else self.output
        logits: Tensor = ops.levels_linear(self.unproject(self.normed(x)), head.weight, *rule)
        return logits

    def normed(self, x: Tensor) -> Tensor:
        """What the head reads."""
        assert isinstance(self.norm, RMSNorm)
        return self.norm.step(x)

    def _attention(self, number: int, layer: NonuLayer, x: Tensor, position: Tensor) -> Tensor:
        config = self.config
        size = (x.shape[0], config.num_heads, config.head_width)
        q, k, v = (part.reshape(size) for part in self._product(x, layer.attention.qkv.weight).chunk(3, -1))
        q, k = _rotated(q, position), _rotated(k, position)
        if config.attention == "linear":
            state = self.get_buffer(f"sums_{number}")
            wide = torch.cat([v, torch.ones_like(v[..., :1])], -1)
            last, found = scan(_summed, state, (linear_features(q), linear_features(k), wide))
            state.copy_(last)
            y = found[..., :-1] / found[..., -1:]
        else:
            keys, values = (self.get_buffer(f"{name}_{number}") for name in ("keys", "values"))
            given = (q, k, v, keys, values, position, config.head_width**-0.5, 0)
            if config.gate_on == "attention":
                y, kept, held = ops.gated_cached_attention(*given, config.active_threshold)
            else:
                y, kept, held = ops.cached_attention(*given)
            keys.copy_(kept)
            values.copy_(held)
        return self._product(y.flatten(1), layer.attention.out.weight)

    def _neurons(self, layer: NonuLayer, x: Tensor) -> Tensor:
        mlp = layer.mlp
        if mlp.predictor is not None or self.config.predictor_exact:
            guess, least = self._guess(mlp, x)
            z = self._chosen((guess > least).float(), x, mlp.up.weight) + mlp.up.bias
            inner = torch.where(guess > least, hidden(z, mlp.threshold()), 0.0)
        else:
            z = self._product(x, mlp.up.weight) + mlp.up.bias
            inner = F.gelu(z) if self.config.gate_on == "attention" else hidden(z, mlp.threshold())
        if self.config.weights == "f32":
            return inner @ mlp.down
        product = ops.int8_sparse_linear if self.config.weights == "int8" else ops.ternary_sparse_linear
        found: Tensor = product(inner, mlp.down, GROUP)
        return found

    def _guess(self, mlp: NonuMlp, x: Tensor) -> tuple[Tensor, Tensor | float]:
        """What says which neurons may be open, [T, F], and what it must exceed."""
        if mlp.predictor is not None:
            return mlp.predictor.step(x), LEAST
        return most_of(x, mlp.up.weight) + mlp.up.bias, mlp.threshold()

    def _chosen(self, chosen: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """``_product`` with the rows of what is chosen [T, N]."""
        if self.config.weights == "f32":
            plain: Tensor = ops.chosen_linear(chosen, x, weight)
            return plain
        product = ops.int8_chosen_linear if self.config.weights == "int8" else ops.ternary_chosen_linear
        found: Tensor = product(chosen, x, weight, GROUP, BLOCK)
        return found

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        """x [T, K] times a weight [N, K]."""
        if self.config.weights == "f32":
            return F.linear(x, weight)
        product = ops.int8_linear if self.config.weights == "int8" else ops.ternary_linear
        found: Tensor = product(x, weight, GROUP, BLOCK)
        return found


def _rotated(x: Tensor, position: Tensor) -> Tensor:
    """Rotary positions of [T, H, d]."""
    found: Tensor = ops.rope(x, position, THETA)
    return found


def _summed(state: Tensor, row: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    q, k, v = row
    state = state + k[:, :, None] * v[:, None, :]
    return state, (q[:, :, None] * state).sum(1)
