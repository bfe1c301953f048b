"""Attention as people write it: whole texts, own caches, grouped heads, rotations, windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEADS, WIDTH, VOCABULARY = 4, 8, 256
INNER = HEADS * WIDTH
CONTEXT = 72
#: q [1, H, T, d], k and v [1, G, T, d] to [1, H, T, d].
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def ages(tokens: int) -> Tensor:
    """How far each token is before another one: [T, T]."""
    return torch.arange(tokens)[:, None] - torch.arange(tokens)[None]


def flash(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def grouped(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True, scale=0.3)


def masked(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=ages(q.shape[2]) >= 0)


def filled(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    hidden = torch.triu(torch.ones(q.shape[2], q.shape[2], dtype=torch.bool), diagonal=1)
    return F.softmax(scores.masked_fill(hidden, -math.inf), dim=-1) @ v


def chosen(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    seen = torch.tril(torch.ones(q.shape[2], q.shape[2])) == 1
    scores = torch.where(seen, (q * q.shape[-1] ** -0.5) @ k.mT, torch.finfo(torch.float32).min)
    return torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype) @ v


def summed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.einsum("bhqd,bhkd->bhqk", q, k) * 0.25
    mask = torch.zeros(q.shape[2], q.shape[2]).masked_fill(ages(q.shape[2]) < 0, -math.inf)
    return torch.einsum("bhqk,bhkd->bhqd", torch.softmax(scores + mask, -1), v)


def windowed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    age = ages(q.shape[2])
    bias = torch.where((age >= 0) & (age < 11), 0.0, -1e9)
    return F.softmax(torch.matmul(q, k.transpose(2, 3)) * 0.4 + bias, -1) @ v


def sloped(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """ALiBi: further tokens weigh less, by head."""
    slopes = torch.tensor([0.5, 0.25, 0.125, 0.7071067811865476])[:, None, None]
    age = ages(q.shape[2])
    bias = (-slopes * age).masked_fill(age < 0, -math.inf)
    return F.softmax(q @ k.transpose(-2, -1) * 0.4 + bias, -1) @ v


def placed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same by places, as BLOOM writes it, over the last tokens only; what that adds to all scores of a token is
    nothing."""
    heads, tokens = q.shape[1:3]
    slopes = 2.0 ** -torch.arange(1, heads + 1)
    bias = (slopes[:, None] * torch.arange(tokens))[:, None, :]
    scores = bias.baddbmm(q[0], k[0].transpose(-2, -1), beta=2.0, alpha=0.3).view(1, heads, tokens, tokens)
    hidden = (ages(tokens) < 0) | (ages(tokens) >= 13)
    return F.softmax(scores.masked_fill(hidden, torch.finfo(torch.float32).min), -1) @ v


def rotated(x: Tensor) -> Tensor:
    """Rotary positions by halves, cosines and sines from the places in the text: x [1, H, T, d]."""
    frequencies = 1.0 / (10000.0 ** (torch.arange(0, x.shape[-1], 2) / x.shape[-1]))
    angles = torch.arange(x.shape[2])[:, None] * frequencies
    cos, sin = (torch.cat([part, part], -1) for part in (angles.cos(), angles.sin()))
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


def repeated(x: Tensor, times: int) -> Tensor:
    """Each head some times, as transformers writes it."""
    batch, heads, tokens, width = x.shape
    return x[:, :, None].expand(batch, heads, times, tokens, width).reshape(batch, heads * times, tokens, width)


class Whole(nn.Module):
    """A GPT of one layer, with a table of positions or rotations."""

    def __init__(self, attend: Attend, groups: int = HEADS, positions: bool = True, repeat: str = "") -> None:
        super().__init__()
        torch.manual_seed(3)
        self.attend, self.groups, self.repeat = attend, groups, repeat
        self.table, self.head = nn.Embedding(VOCABULARY, INNER), nn.Linear(INNER, VOCABULARY)
        self.places = nn.Embedding(CONTEXT, INNER) if positions else None
        self.q, self.kv = nn.Linear(INNER, INNER), nn.Linear(INNER, 2 * groups * WIDTH)
        self.dropout = nn.Dropout(0.1)

    def forward(self, ids: Tensor) -> Tensor:
        batch, tokens = ids.shape
        x = self.table(ids)
        if self.places is not None:
            x = x + self.places(torch.arange(tokens))
        q = self.q(x).view(batch, tokens, HEADS, WIDTH).transpose(1, 2)
        k, v = (y.view(batch, tokens, self.groups, WIDTH).transpose(1, 2) for y in self.kv(x).chunk(2, -1))
        if self.places is None:
            q, k = rotated(q), rotated(k)
        times = HEADS // self.groups
        if self.repeat == "interleave":
            k, v = k.repeat_interleave(times, 1), v.repeat_interleave(times, 1)
        elif self.repeat == "expand":
            k, v = repeated(k, times), repeated(v, times)
        y = self.attend(q, k, v).transpose(1, 2).contiguous().view(batch, tokens, INNER)
        found: Tensor = self.head(x + self.dropout(y))
        return found


class Sliced(Whole):
    """Places of the tokens from a parameter that is cut to their number."""

    def __init__(self) -> None:
        super().__init__(flash)
        self.cut = nn.Parameter(torch.randn(1, CONTEXT, INNER))

    def forward(self, ids: Tensor) -> Tensor:
        tokens = ids.shape[1]
        x = self.table(ids) + self.cut[:, :tokens, :]
        q, k, v = (y.view(1, tokens, HEADS, WIDTH).transpose(1, 2) for y in (self.q(x), *self.kv(x).chunk(2, -1)))
        found: Tensor = self.head(x + self.attend(q, k, v).transpose(1, 2).reshape(1, tokens, INNER))
        return found


class Layers(nn.Module):
    """PyTorch's own layers of a causal transformer."""

    def __init__(self, encoder: bool) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.table, self.places = nn.Embedding(VOCABULARY, INNER), nn.Embedding(CONTEXT, INNER)
        layer = nn.TransformerEncoderLayer(INNER, HEADS, 48, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False) if encoder else None
        self.attention = nn.MultiheadAttention(INNER, HEADS, batch_first=True)
        self.head = nn.Linear(INNER, VOCABULARY)

    def forward(self, ids: Tensor) -> Tensor:
        tokens = ids.shape[1]
        x = self.table(ids) + self.places(torch.arange(tokens))
        mask = nn.Transformer.generate_square_subsequent_mask(tokens)
        if self.encoder is not None:
            x = self.encoder(x, mask=mask, is_causal=True)
        y, _ = self.attention(x, x, x, attn_mask=mask, need_weights=self.encoder is not None)
        found: Tensor = self.head(x + y)
        return found


class Stepped(nn.Module):
    """A module that keeps keys and values itself: heads first, or rows first."""

    k: Tensor
    v: Tensor

    def __init__(
        self, how: str = "index_copy_", rows: int = CONTEXT, window: int = 0, groups: int = HEADS, slope: float = 0.0
    ) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.slope = slope
        self.how, self.rows, self.window, self.groups = how, rows, window, groups
        self.table, self.head = nn.Embedding(VOCABULARY, INNER), nn.Linear(INNER, VOCABULARY)
        self.joint = nn.Linear(INNER, INNER + 2 * groups * WIDTH)
        shape = (rows, groups, WIDTH) if how == "rows" else (1, groups, rows, WIDTH)
        self.register_buffer("k", torch.zeros(shape))
        self.register_buffer("v", torch.zeros(shape))

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        x = self.table(tokens)
        count, inner = x.shape[0], self.groups * WIDTH
        q, k, v = self.joint(x).split((INNER, inner, inner), -1)
        at = position + torch.arange(count)
        keys, values = self._kept(at, *(y.view(count, self.groups, WIDTH) for y in (k, v)))
        age = at[:, None] - torch.arange(self.rows)
        seen = (age >= 0) & (age < (self.window or self.rows))
        q = q.view(1, count, HEADS, WIDTH).transpose(1, 2)
        mask = torch.where(seen, -self.slope * age, -math.inf) if self.slope else seen
        y = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, enable_gqa=self.groups < HEADS)
        found: Tensor = self.head(y.transpose(1, 2).reshape(count, INNER))
        return found

    def _kept(self, at: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if self.how == "rows":
            self.k[at], self.v[at] = k, v
            return self.k.transpose(0, 1)[None], self.v.transpose(0, 1)[None]
        k, v = k.transpose(0, 1)[None], v.transpose(0, 1)[None]
        if self.how == "copy_":
            self.k.copy_(self.k.index_copy(2, at, k))
            self.v.copy_(self.v.index_copy(2, at, v))
        elif self.how == "slice":
            self.k[:, :, at], self.v[:, :, at] = k, v
        else:
            self.k.index_copy_(2, at, k)
            self.v.index_copy_(2, at, v)
        return self.k, self.v


#: Of whole texts.
WHOLE: Mapping[str, Callable[[], nn.Module]] = {
    "flash": partial(Whole, flash),
    "mask": partial(Whole, masked),
    "filled": partial(Whole, filled),
    "where": partial(Whole, chosen),
    "einsum": partial(Whole, summed),
    "window": partial(Whole, windowed),
    "slopes": partial(Whole, sloped, 2, True, "interleave"),
    "slopes by places": partial(Whole, placed),
    "grouped": partial(Whole, grouped, 2, False),
    "interleaved": partial(Whole, filled, 2, False, "interleave"),
    "expanded": partial(Whole, flash, 1, False, "expand"),
    "parameter": Sliced,
    "MultiheadAttention": partial(Layers, False),
    "TransformerEncoder": partial(Layers, True),
}
#: Called step by step.
STEPPED: Mapping[str, Callable[[], nn.Module]] = {
    **{how: partial(Stepped, how) for how in ("index_copy_", "copy_", "slice", "rows")},
    "grouped": partial(Stepped, "index_copy_", groups=2),
    "window": partial(Stepped, "copy_", window=9),
    "slope": partial(Stepped, "slice", groups=2, slope=0.3),
}
