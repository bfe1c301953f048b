"""RWKV-7 as frontends/export takes it (arXiv 2503.14456): a state for each head, and no attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.layers import ops
from chimerac.frontends.matrices.forms import Form
from chimerac.frontends.published.products import Projection, Weight, untouched
from chimerac.frontends.published.shape import MIXED, LlamaShape, RwkvShape

FASTEST: Final = -0.606531  #: the logarithm of a decay is at least this: -exp(-1/2)
#: Added to the squared length of what is removed; others let the length be 1e-12 at least.
_LENGTH: Final = 1e-24


class TokenShift(nn.Module):
    """What a token's channels are mixed with: those of the token before, zeros before the first."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 0.0]).expand(hidden, 2).contiguous()  # a convolution that takes the token before
        self.register_buffer("taps", taps, persistent=False)
        self.register_buffer("tail", untouched(1, hidden))

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, D] -> the token before less the token: [T, D]."""
        tail = self.get_buffer("tail")
        before, new_tail = ops.causal_conv(x, self.get_buffer("taps"), tail)
        tail.copy_(new_tail)
        difference: Tensor = before - x
        return difference


class LowRank(nn.Module):
    """up(act(down(x))), a product with a matrix of few independent rows. ``act``: tanh, sigmoid or none."""

    def __init__(self, sizes: tuple[int, int], path: str, forms: Mapping[str, Form], act: str, *, bias: bool) -> None:
        super().__init__()
        (rank, width), self.act = sizes, act
        self.down = Projection(rank, width, forms[f"{path}down.weight"])
        self.up = Projection(width, rank, forms[f"{path}up.weight"], bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, D] -> [T, D]."""
        y = self.down(x)
        if self.act:
            y = torch.tanh(y) if self.act == "tanh" else torch.sigmoid(y)
        up: Tensor = self.up(y)
        return up


class TimeMix(nn.Module):
    """Heads of the generalised delta rule.

    Attributes:
        mix_r … mix_g: [D], how much of the token before goes into each input.
        k_k, k_a: [D], by which keys are multiplied before they say what is removed, and how much they follow the rate.
        r_k: [H, d], of the bonus of the token itself.
        norm, norm_bias: [D], of heads that are normed one by one.
    """

    def __init__(self, shape: LlamaShape, rwkv: RwkvShape, layer: int, forms: Mapping[str, Form]) -> None:
        super().__init__()
        self.rwkv, hidden, path = rwkv, shape.hidden, f"layers.{layer}.mixer."
        for name in "rkvo":
            self.add_module(f"{name}_proj", Projection(hidden, hidden, forms[f"{path}{name}_proj.weight"]))
        for letter in MIXED:
            self.register_parameter(f"mix_{letter}", nn.Parameter(torch.zeros(hidden), requires_grad=False))
        for name in ("k_k", "k_a", "norm", "norm_bias"):
            self.register_parameter(name, nn.Parameter(torch.zeros(hidden), requires_grad=False))
        self.r_k = nn.Parameter(torch.zeros(rwkv.heads, rwkv.width), requires_grad=False)
        self.decay = LowRank((rwkv.decay_rank, hidden), f"{path}decay.", forms, "tanh", bias=True)
        self.rate = LowRank((rwkv.rate_rank, hidden), f"{path}rate.", forms, "", bias=True)
        self.gate = LowRank((rwkv.gate_rank, hidden), f"{path}gate.", forms, "sigmoid", bias=False)
        self.value = LowRank((rwkv.value_rank, hidden), f"{path}value.", forms, "", bias=True) if layer else None
        self.shift = TokenShift(hidden)
        self.register_buffer("state", untouched(rwkv.heads, rwkv.width, rwkv.width))

    def forward(self, x: Tensor, first: Tensor | None) -> tuple[Tensor, Tensor]:
        """x: [T, D]; first: values of the first layer, [T, D], None there -> [T, D] and these values."""
        difference = self.shift(x)
        mixed = {letter: x + difference * self.get_parameter(f"mix_{letter}") for letter in MIXED}
        r, k, v = (self.get_submodule(f"{name}_proj")(mixed[name]) for name in "rkv")
        if self.value is not None and first is not None:
            v = v + (first - v) * torch.sigmoid(self.value(mixed["v"]))
        first = v if first is None else first
        decay = torch.exp(FASTEST * torch.sigmoid(self.decay(mixed["w"])))
        rate, gate = torch.sigmoid(self.rate(mixed["a"])), self.gate(mixed["g"])
        removed = ops.l2_norm(self._heads(k * self.get_parameter("k_k")), _LENGTH)
        k = k * (1 + (rate - 1) * self.get_parameter("k_a"))
        r, decay, k, v, rate = (self._heads(part) for part in (r, decay, k, v, rate))
        state = self.get_buffer("state")
        y, new_state = ops.generalized_delta(r, decay, k, v, -removed, removed * rate, state)
        state.copy_(new_state)
        y = F.layer_norm(y, (self.rwkv.width,), eps=self.rwkv.epsilon).flatten(1)
        y = y * self.get_parameter("norm") + self.get_parameter("norm_bias")
        bonus = (r * k * self.r_k).sum(-1, keepdim=True) * v
        out: Tensor = self.get_submodule("o_proj")((y + bonus.flatten(1)) * gate)
        return out, first

    def _heads(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (self.rwkv.heads, self.rwkv.width))
        return heads


class ChannelMix(nn.Module):
    """down(relu(up(x mixed with the token before)) squared). ``mix``: [D]."""

    def __init__(self, shape: LlamaShape, path: str, forms: Mapping[str, Form]) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.zeros(shape.hidden), requires_grad=False)
        self.up_proj = Projection(shape.inner, shape.hidden, forms[f"{path}up_proj.weight"])
        self.down_proj = Projection(shape.hidden, shape.inner, forms[f"{path}down_proj.weight"])
        self.shift = TokenShift(shape.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, D] -> [T, D]."""
        inner = F.relu(self.up_proj(x + self.shift(x) * self.mix))
        out: Tensor = self.down_proj(inner * inner)
        return out


class RwkvLayer(nn.Module):
    """A time mix and a channel mix, each added to what it reads behind a layer norm."""

    def __init__(self, shape: LlamaShape, rwkv: RwkvShape, layer: int, forms: Mapping[str, Form]) -> None:
        super().__init__()
        self.mixer_norm = nn.LayerNorm(shape.hidden, shape.epsilon)
        self.mixer = TimeMix(shape, rwkv, layer, forms)
        self.ffn_norm = nn.LayerNorm(shape.hidden, shape.epsilon)
        self.ffn = ChannelMix(shape, f"layers.{layer}.ffn.", forms)

    def forward(self, x: Tensor, first: Tensor | None) -> tuple[Tensor, Tensor]:
        y, first = self.mixer(self.mixer_norm(x), first)
        x = x + y
        out: Tensor = x + self.ffn(self.ffn_norm(x))
        return out, first


class RwkvModel(nn.Module):
    """The model; ``rwkv_names.py`` says what its parameters are called in files.

    Args:
        forms: of every matrix, by the name of the parameter.
    """

    def __init__(self, shape: LlamaShape, rwkv: RwkvShape, forms: Mapping[str, Form]) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = Weight(shape.vocabulary, shape.hidden, forms["embedding.weight"])
        self.first_norm = nn.LayerNorm(shape.hidden, shape.epsilon)
        self.layers = nn.ModuleList(RwkvLayer(shape, rwkv, layer, forms) for layer in range(shape.layers))
        self.norm = nn.LayerNorm(shape.hidden, shape.epsilon)
        self.head = None if shape.tied else Projection(shape.vocabulary, shape.hidden, forms["head.weight"])

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        """tokens: i32 [T]; position: i32 [], which nothing asks -> logits [T, V]."""
        x, first = self.first_norm(self.embedding.rows(tokens)), None
        for layer in self.layers:
            x, first = layer(x, first)
        x = self.norm(x)
        logits: Tensor = self.embedding.product(x) if self.head is None else self.head(x)
        return logits
