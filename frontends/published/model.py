"""The module of a Llama-like model as frontends/export takes it: a call of a few tokens, keys and values in buffers."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from chimerac.frontends.layers import ops
from chimerac.frontends.layers.norm import RMSNorm
from chimerac.frontends.layers.ops_memory import rotate
from chimerac.frontends.matrices.forms import Form
from chimerac.frontends.published.delta import GatedDelta
from chimerac.frontends.published.experts import Mixture
from chimerac.frontends.published.gated_network import gated_network
from chimerac.frontends.published.mlstm import MatrixLstm, capped
from chimerac.frontends.published.products import Projection, Weight, untouched
from chimerac.frontends.published.rotary import TURN
from chimerac.frontends.published.shape import LlamaShape
from chimerac.frontends.published.short_conv import ShortConv
from chimerac.frontends.published.ssm import StateSpace

#: Cosines and sines of a call's positions, [T, d/2] each.
Turned = tuple[Tensor, Tensor]


class Attention(nn.Module):
    """Causal attention over all tokens before, whose keys and values are in buffers of ``context`` rows."""

    def __init__(self, shape: LlamaShape, layer: int, forms: Mapping[str, Form], context: int) -> None:
        super().__init__()
        self.shape, self.rotated = shape, shape.rotated[layer]
        width, path = shape.head_width, f"layers.{layer}.mixer."
        queries, pairs = shape.heads * width, shape.kv_heads * width
        norm = shape.product_norms
        asked = queries * (1 + shape.output_gate)
        for name, rows in (("q_proj", asked), ("k_proj", pairs), ("v_proj", pairs)):
            form = forms[f"{path}{name}.weight"]
            self.add_module(name, Projection(rows, shape.hidden, form, bias=shape.qkv_bias, norm=norm))
        form = forms[f"{path}o_proj.weight"]
        self.o_proj = Projection(shape.hidden, queries, form, bias=shape.out_bias, norm=norm)
        self.q_norm = RMSNorm(width, shape.epsilon) if shape.head_norms else None
        self.k_norm = RMSNorm(width, shape.epsilon) if shape.head_norms else None
        self.sub_norm = RMSNorm(queries, shape.epsilon) if shape.sub_norms else None
        self.partial = self.rotated and shape.turning != width
        stretched = shape.rotary.attention**2 if self.rotated and not self.partial else 1.0
        self.scale = stretched / math.sqrt(width)
        self.register_buffer("keys", untouched(shape.kv_heads, context, width))
        self.register_buffer("values", untouched(shape.kv_heads, context, width))

    def forward(self, x: Tensor, position: Tensor, turned: Turned | None) -> Tensor:
        """x: [T, D]; position: i32 []; turned: None where ``rope`` finds the angles -> [T, D]."""
        width = self.shape.head_width
        q, k, v = (self.get_submodule(name)(x).unflatten(-1, (-1, width)) for name in ("q_proj", "k_proj", "v_proj"))
        gate = None
        if self.shape.output_gate:
            q, gate = q.unflatten(1, (-1, 2)).unbind(2)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm.step(q), self.k_norm.step(k)
        if self.rotated:
            q, k = (self._turn(part, position, turned) for part in (q, k))
        keys, values = self.get_buffer("keys"), self.get_buffer("values")
        y, new_keys, new_values = ops.cached_attention(q, k, v, keys, values, position, self.scale, 0)
        keys.copy_(new_keys)
        values.copy_(new_values)
        y = (y if gate is None else y * torch.sigmoid(gate)).flatten(1)
        out: Tensor = self.o_proj(y if self.sub_norm is None else self.sub_norm.step(y))
        return out

    def _turn(self, x: Tensor, position: Tensor, turned: Turned | None) -> Tensor:
        if self.partial:
            first, rest = x.split([self.shape.turning, x.shape[-1] - self.shape.turning], dim=-1)
            first = self._turn_all(first, position, turned) * self.shape.rotary.attention
            return torch.cat([first, rest], dim=-1)
        return self._turn_all(x, position, turned)

    def _turn_all(self, x: Tensor, position: Tensor, turned: Turned | None) -> Tensor:
        if turned is not None:
            return rotate(x, *turned)
        y: Tensor = ops.rope(x, position, self.shape.rotary.theta)
        return y


class Layer(nn.Module):
    """Attention or a recurrence, and a gated network, several or none, each added to what it reads behind a norm."""

    def __init__(self, shape: LlamaShape, layer: int, forms: Mapping[str, Form], context: int) -> None:
        super().__init__()
        self.mixer_norm, path = RMSNorm(shape.hidden, shape.epsilon), f"layers.{layer}.mixer."
        self.recurrent = shape.endless or layer in (*shape.delta_layers, *shape.conv_layers)
        self.mixer: nn.Module
        self.ffn: nn.Module | None = None
        if shape.ssm is not None:
            self.mixer = StateSpace(shape.ssm, shape.hidden, shape.epsilon, path, forms)
            return
        self.ffn_norm = RMSNorm(shape.hidden, shape.epsilon)
        if shape.delta is not None and layer in shape.delta_layers:
            self.mixer = GatedDelta(shape.delta, shape.hidden, shape.epsilon, path, forms)
        elif shape.mlstm is not None:
            self.mixer = MatrixLstm(shape.mlstm, shape.hidden, shape.epsilon, path, forms)
        elif layer in shape.conv_layers:
            self.mixer = ShortConv(shape.hidden, shape.conv_taps, path, forms)
        else:
            self.mixer = Attention(shape, layer, forms, context)
        path = f"layers.{layer}.ffn."
        if shape.experts is not None and layer in shape.expert_layers:
            self.ffn = Mixture(shape.experts, shape.hidden, path, forms)
        else:
            self.ffn = gated_network(shape, path, forms)

    def forward(self, x: Tensor, position: Tensor, turned: Turned | None) -> Tensor:
        normed = self.mixer_norm.step(x)
        x = x + (self.mixer(normed) if self.recurrent else self.mixer(normed, position, turned))
        y: Tensor = x if self.ffn is None else x + self.ffn(self.ffn_norm.step(x))
        return y


class LlamaLike(nn.Module):
    """The model; ``names.py`` says what its parameters are called in files.

    Args:
        forms: of every matrix, by the name of the parameter.
        context: most tokens of a text.
    """

    phases: Tensor

    def __init__(self, shape: LlamaShape, forms: Mapping[str, Form], context: int) -> None:
        super().__init__()
        self.shape, self.context = shape, context
        self.embedding = Weight(shape.vocabulary, shape.hidden, forms["embedding.weight"])
        self.layers = nn.ModuleList(Layer(shape, layer, forms, context) for layer in range(shape.layers))
        self.norm = RMSNorm(shape.hidden, shape.epsilon)
        self.head = None if shape.tied else Projection(shape.vocabulary, shape.hidden, forms["head.weight"])
        phases = torch.tensor(shape.rotary.phases(shape.turning), dtype=torch.int32)
        self.register_buffer("phases", phases, persistent=False)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        """tokens: i32 [T]; position: i32 [] -> logits [T, V]."""
        x = self.embedding.rows(tokens)
        turned = None if self.shape.rotary.scaling is None else self._turned(tokens, position)
        for layer in self.layers:
            x = layer(x, position, turned)
        x = self.norm.step(x)
        logits: Tensor = self.embedding.product(x) if self.head is None else self.head(x)
        return logits if self.shape.logit_cap is None else capped(logits, self.shape.logit_cap)

    def _turned(self, tokens: Tensor, position: Tensor) -> Turned:
        """Integers of 32 bits wrap, and so does a turn: phases are exact at any position."""
        places = position + torch.arange(tokens.shape[0], dtype=torch.int32)
        angles = (places[:, None] * self.phases).to(torch.float32) * (2 * math.pi / TURN)
        return torch.cos(angles), torch.sin(angles)
