"""The layers of a Nonu model, on whole sequences."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.families.nonu.gate import gate, hidden, trained_hidden
from chimerac.frontends.families.nonu.predictor import LEAST, Predictor, chosen_only
from chimerac.frontends.families.nonu.rounding import Rounding
from chimerac.frontends.families.nonu.shape import NONU, SPREAD, NonuConfig, gate_bias, logit
from chimerac.frontends.layers.norm import RMSNorm
from chimerac.frontends.layers.ops_memory import rotate, rotation

EPS = 1e-6  #: of norms
THETA = 10_000.0  #: of rotary positions
SCALE = 100 * NONU  #: of a multiplicative residual, times what is learned
CHUNK = 64  #: tokens that linear attention adds to its state at a time


def linear_features(x: Tensor) -> Tensor:
    """elu + 1, which is above 0 (arXiv 2006.16236)."""
    return F.elu(x) + 1


class NonuAttention(nn.Module):
    """Causal attention with rotary positions; ``qkv`` [3h, h], ``out`` [h, h]."""

    def __init__(self, config: NonuConfig) -> None:
        super().__init__()
        self.config, self.rounding = config, Rounding(config.weights)
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.out = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, h] -> [B, T, h]."""
        size = (*x.shape[:-1], self.config.num_heads, self.config.head_width)
        q, k, v = (part.view(size) for part in self.rounding.product(x, self.qkv.weight).chunk(3, -1))
        turns = rotation(torch.arange(x.shape[-2], device=x.device), self.config.head_width, THETA)
        cos, sin = (part.to(x.dtype) for part in turns)
        q, k, v = (part.transpose(-3, -2) for part in (rotate(q, cos, sin), rotate(k, cos, sin), v))
        if self.config.attention == "linear":
            y = linear_attention(linear_features(q), linear_features(k), v)
        elif self.config.gate_on == "attention":
            y = gated_attention(q, k, v, self.config)
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.rounding.product(y.transpose(-3, -2).flatten(-2), self.out.weight)


def gated_attention(q: Tensor, k: Tensor, v: Tensor, config: NonuConfig) -> Tensor:
    """Softmax attention without the weights that are at most ``active_threshold`` times the largest of their query."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
    scores = scores.masked_fill(later, -math.inf)
    weights = torch.softmax(scores, -1)
    relative = (scores - scores.amax(-1, keepdim=True)).masked_fill(later, -1e4)
    return (gate(relative, math.log(config.active_threshold), config.ste) * weights) @ v


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Each query over the sum of keys times values up to its token, by the sum of the keys: [B, H, T, d] each."""
    wide = torch.cat([v, torch.ones_like(v[..., :1])], -1)
    state = torch.zeros_like(k[..., :1, :].transpose(-2, -1) @ wide[..., :1, :])
    parts = []
    for one, two, three in zip(q.split(CHUNK, -2), k.split(CHUNK, -2), wide.split(CHUNK, -2), strict=True):
        parts.append(one @ state + (one @ two.transpose(-2, -1)).tril() @ three)
        state = state + two.transpose(-2, -1) @ three
    y = torch.cat(parts, -2)
    return y[..., :-1] / y[..., -1:]


class NonuMlp(nn.Module):
    """Gated neurons: ``up`` [F, h] with a bias, ``down`` [F, h], of which a row is what a neuron gives."""

    def __init__(self, config: NonuConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer, self.rounding = config, layer, Rounding(config.weights)
        self.up = nn.Linear(config.hidden_size, config.neurons)
        self.down = nn.Parameter(torch.empty(config.neurons, config.hidden_size))
        edge = torch.tensor([logit(config.threshold(layer))])
        self.edge = nn.Parameter(edge) if config.learned else None
        self.predictor = Predictor(config) if config.predictor_rank else None
        self.open: Tensor | None = None  #: neurons that were open, in the mean over the tokens of the last call

    def threshold(self) -> Tensor | float:
        """The logit that z must exceed: the document's, or what was learned, within the bounds of its precision."""
        if self.edge is None:
            return logit(self.config.threshold(self.layer))
        if self.config.adaptive_precision is None:
            return self.edge
        low, high = (logit(bound) for bound in self.config.adaptive_precision)
        return self.edge.clamp(low, high)

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., h] -> [..., h]."""
        z = self.rounding.product(x, self.up.weight) + self.up.bias
        if self.config.gate_on == "attention":
            self.open = torch.full((), float(self.config.neurons))
            return self.rounding.gather(F.gelu(z), self.down)
        edge = self.threshold()
        inner = trained_hidden(z, edge, self.config.ste) if self.training else hidden(z, edge)
        is_open = z.detach() > edge
        if self.predictor is not None:
            guess = self.predictor(x)
            inner, is_open = chosen_only(inner, guess, is_open), is_open & (guess.detach() > LEAST)
        self.open = is_open.sum(-1).double().mean()
        return self.rounding.gather(inner, self.down)


class NonuLayer(nn.Module):
    """Attention and gated neurons, each behind a norm, and the residual around them."""

    def __init__(self, config: NonuConfig, layer: int) -> None:
        super().__init__()
        self.config = config
        self.attention_norm, self.mlp_norm = RMSNorm(config.hidden_size, EPS), RMSNorm(config.hidden_size, EPS)
        self.attention, self.mlp = NonuAttention(config), NonuMlp(config, layer)
        self.residual = nn.Parameter(torch.ones(1)) if config.use_multiplicative_residuals else None

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, h] -> [B, T, h]. In training it may be left out, with a probability of ``nonu_drop``."""
        # 53 bits: float32's 24 are steps of 6e-8, too coarse for 1e-7
        if self.training and float(torch.rand((), dtype=torch.float64)) < self.config.nonu_drop:
            return x
        y = x + self.attention(self.attention_norm(x))
        return self.joined(y, self.mlp(self.mlp_norm(y)))

    def joined(self, y: Tensor, added: Tensor) -> Tensor:
        """y · (1 + 1e-7 · s) + added, as a sum: float32 rounds 1 + 1e-7 to 1 + 1.19e-7, bfloat16 to 1."""
        if self.residual is None:
            return y + added
        return y + (SCALE * self.residual * y + added)


def initialise(layer: NonuLayer, number: int) -> None:
    """Random weights, and the biases that leave ``initial_open`` of the neurons open."""
    for matrix in (layer.attention.qkv.weight, layer.attention.out.weight, layer.mlp.up.weight, layer.mlp.down):
        nn.init.normal_(matrix, 0.0, SPREAD)
    nn.init.constant_(layer.mlp.up.bias, gate_bias(layer.config, number))
