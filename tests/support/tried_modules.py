"""Modules as people bring them, small and with random weights: recurrences, attention, classifiers, and `transformers`.

Those with ``position`` are called step by step and keep their state in buffers, the others see a whole text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import chimerac

VOCABULARY, WIDTH = 64, 24
HEADS, HEAD = 3, 8


class Text(nn.Module):
    """A table, something between, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(WIDTH, VOCABULARY)


class LongShortTerm(Text):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.LSTM(WIDTH, WIDTH, num_layers=2)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.mix(self.table(tokens))[0])
        return logits


class Gated(Text):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.GRU(WIDTH, WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.mix(self.table(tokens))[0])
        return logits


class Cell(Text):
    """nn.LSTMCell, a step for each token."""

    h: Tensor
    c: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(WIDTH, WIDTH)
        self.register_buffer("h", torch.zeros(WIDTH))
        self.register_buffer("c", torch.zeros(WIDTH))

    def step(self, state: tuple[Tensor, Tensor], x: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        state = self.cell(x, state)
        return state, state[0]

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        (h, c), found = chimerac.scan(self.step, (self.h, self.c), self.table(tokens))
        self.h.copy_(h)
        self.c.copy_(c)
        logits: Tensor = self.head(found)
        return logits


class Retention(Text):
    """RetNet (arXiv 2307.08621) in its recurrent form: S = decay S + k v, y = q S, a norm of each head and a gate."""

    decay: Tensor
    s: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.qkvg, self.out = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm = nn.GroupNorm(HEADS, WIDTH)
        self.register_buffer("decay", (1 - 2.0 ** (-5 - torch.arange(HEADS)))[:, None, None])
        self.register_buffer("s", torch.zeros(HEADS, HEAD, HEAD))

    def step(self, s: Tensor, row: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        q, k, v = row
        s = self.decay * s + k[:, :, None] * v[:, None, :]
        return s, (q[:, :, None] * s).sum(1)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        x = self.table(tokens)
        q, k, v, gate = self.qkvg(x).chunk(4, -1)
        rows = tuple(part.unflatten(-1, (HEADS, HEAD)) for part in (q, k * HEAD**-0.5, v))
        s, y = chimerac.scan(self.step, self.s, rows)
        self.s.copy_(s)
        logits: Tensor = self.head(x + self.out(F.silu(gate) * self.norm(y.flatten(1))))
        return logits


class Selective(Text):
    """Mamba (arXiv 2312.00752): a causal convolution, and a state whose decay and input the token chooses."""

    before: Tensor
    h: Tensor

    def __init__(self, states: int = 4, taps: int = 4) -> None:
        super().__init__()
        self.states = states
        self.into, self.out = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.choose, self.rate = nn.Linear(WIDTH, 1 + 2 * states), nn.Linear(1, WIDTH)
        self.taps, self.skip = nn.Parameter(torch.randn(taps, WIDTH) / taps), nn.Parameter(torch.ones(WIDTH))
        self.log_decay = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(WIDTH, 1))
        self.register_buffer("before", torch.zeros(taps - 1, WIDTH))
        self.register_buffer("h", torch.zeros(WIDTH, states))

    def convolve(self, before: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        seen = torch.cat([before, x[None]])
        return seen[1:], (seen * self.taps).sum(0)

    def step(self, h: Tensor, row: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x, delta, b, c = row
        h = torch.exp(-delta[:, None] * torch.exp(self.log_decay)) * h + (delta * x)[:, None] * b
        return h, (h * c).sum(-1)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        x = self.table(tokens)
        inner, gate = self.into(x).chunk(2, -1)
        before, inner = chimerac.scan(self.convolve, self.before, inner)
        inner = F.silu(inner)
        delta, b, c = self.choose(inner).split((1, self.states, self.states), -1)
        h, y = chimerac.scan(self.step, self.h, (inner, F.softplus(self.rate(delta)), b, c))
        self.before.copy_(before)
        self.h.copy_(h)
        logits: Tensor = self.head(x + self.out((y + self.skip * inner) * F.silu(gate)))
        return logits


class Receptance(Text):
    """RWKV 4 (arXiv 2305.13048): a weighted mean with a running maximum, and channels mixed with the token before."""

    last: Tensor
    sums: Tensor
    top: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.k, self.v, self.r, self.out = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.shares = nn.Parameter(torch.rand(3, WIDTH))
        self.decay, self.first = nn.Parameter(torch.rand(WIDTH)), nn.Parameter(torch.rand(WIDTH))
        self.register_buffer("last", torch.zeros(WIDTH))
        self.register_buffer("sums", torch.zeros(2, WIDTH))
        self.register_buffer("top", torch.full((WIDTH,), -1e30))

    def step(self, state: tuple[Tensor, Tensor], row: tuple[Tensor, Tensor]) -> tuple[tuple[Tensor, Tensor], Tensor]:
        (sums, top), (k, v) = state, row
        new = torch.stack([v, torch.ones_like(v)])
        now = torch.maximum(top, k + self.first)
        seen = torch.exp(top - now) * sums + torch.exp(k + self.first - now) * new
        after = torch.maximum(top - torch.exp(self.decay), k)
        sums = torch.exp(top - torch.exp(self.decay) - after) * sums + torch.exp(k - after) * new
        return (sums, after), seen[0] / seen[1]

    def shift(self, last: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, last

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        x = self.table(tokens)
        last, before = chimerac.scan(self.shift, self.last, x)
        k, v, r = (x * share + before * (1 - share) for share in self.shares)
        (sums, top), y = chimerac.scan(self.step, (self.sums, self.top), (self.k(k), self.v(v)))
        self.last.copy_(last)
        self.sums.copy_(sums)
        self.top.copy_(top)
        logits: Tensor = self.head(x + self.out(torch.sigmoid(self.r(r)) * y))
        return logits


class Attention(nn.Module):
    """Causal attention as nanoGPT writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = (y.view(batch, tokens, HEADS, HEAD).transpose(1, 2) for y in self.qkv(x).split(width, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        found: Tensor = self.out(y.transpose(1, 2).contiguous().view(batch, tokens, width))
        return found


class Nano(Text):
    """nanoGPT: positions in a table, two blocks, the logits of the last token, with targets a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Embedding(256, WIDTH)
        self.attend = nn.ModuleList(Attention() for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(5))
        self.up = nn.ModuleList(nn.Linear(WIDTH, 4 * WIDTH) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(4 * WIDTH, WIDTH) for _ in range(2))

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        x = self.table(idx) + self.places(torch.arange(idx.shape[1]))
        for i, attend in enumerate(self.attend):
            x = x + attend(self.norms[2 * i](x))
            x = x + self.down[i](F.gelu(self.up[i](self.norms[2 * i + 1](x))))
        x = self.norms[4](x)
        if targets is not None:
            logits = self.head(x)
            return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return self.head(x[:, [-1], :]), None


class Kept(Text):
    """scaled_dot_product_attention over keys and values in buffers."""

    k: Tensor
    v: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        for name in ("k", "v"):
            self.register_buffer(name, torch.zeros(HEADS, 256, HEAD))

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        x = self.table(tokens)
        q, k, v = (part.unflatten(1, (HEADS, HEAD)).transpose(0, 1) for part in self.qkv(x).chunk(3, -1))
        at = position + torch.arange(tokens.shape[0])
        self.k.index_copy_(1, at, k)
        self.v.index_copy_(1, at, v)
        mask = torch.arange(256)[None] <= at[:, None]
        y = F.scaled_dot_product_attention(q, self.k, self.v, attn_mask=mask)
        logits: Tensor = self.head(x + self.out(y.transpose(0, 1).flatten(1)))
        return logits


class SelectiveCopying(Text):
    """What the description of N4 says: keys and queries through gates that the token chooses, norms that are a
    hyperbolic tangent, and a network whose gate goes from Swish to GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.attend, self.select = Attention(), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.scale, self.weight = nn.Parameter(torch.full((2, 1), 0.5)), nn.Parameter(torch.rand(2, WIDTH))
        self.share = nn.Parameter(torch.zeros(2 * WIDTH))

    def norm(self, x: Tensor, which: int) -> Tensor:
        return torch.tanh(self.scale[which] * x) * self.weight[which]

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens)
        inner = self.norm(x, 0)
        x = x + self.attend(inner * torch.sigmoid(self.select(inner)))
        gate, up = self.up(self.norm(x, 1)).chunk(2, -1)
        share = torch.sigmoid(self.share)
        x = x + self.down((share * F.silu(gate) + (1 - share) * F.gelu(gate)) * up)
        logits: Tensor = self.head(x)
        return logits


class Wrapped(nn.Module):
    """A model of `transformers`: the wrapper of docs/modules.md."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.model(tokens, use_cache=False).logits
        return logits


def of_transformers(name: str, **more: Any) -> nn.Module:
    """A small random model of `transformers`."""
    import transformers

    given = {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "bos_token_id": 1, "eos_token_id": 2, **more}
    model = getattr(transformers, f"{name}ForCausalLM")(getattr(transformers, f"{name}Config")(**given))
    return Wrapped(model.float())


Memory = tuple[Tensor, Tensor, Tensor]


def recurrent(q: Tensor, k: Tensor, v: Tensor, i: Tensor, f: Tensor, **_: Any) -> tuple[Tensor, None]:
    """xLSTM's mLSTM (arXiv 2405.04517) token by token, as a layer's backend: q, k, v [1, H, T, d], i, f [1, H, T]."""

    def step(state: Memory, row: tuple[Tensor, ...]) -> tuple[Memory, Tensor]:
        (c, n, m), (q, k, v, i, f) = state, row
        forget = F.logsigmoid(f) + m
        m = torch.maximum(forget, i)
        fade, new = torch.exp(forget - m)[:, None], torch.exp(i - m)[:, None]
        c, n = fade[..., None] * c + (new * k)[..., None] * v[:, None], fade * n + new * k
        size = torch.maximum((q * n).sum(-1).abs(), torch.exp(-m)) + 1e-6
        return (c, n, m), (q[..., None] * c).sum(1) / size[:, None]

    heads, width = q.shape[1], q.shape[3]
    begin = torch.zeros(heads, width, v.shape[3]), torch.zeros(heads, width), torch.zeros(heads)
    rows = (part[0].transpose(0, 1) for part in (q * width**-0.5, k, v, i, f))
    return chimerac.scan(step, begin, tuple(rows))[1].transpose(0, 1)[None], None


def xlstm() -> nn.Module:
    """xLSTM of `transformers` with that in place of its chunkwise backend."""
    wrapped = of_transformers("xLSTM", **XLSTM)
    for name, layer in list(wrapped.named_modules()):
        if name.endswith("mlstm_layer"):
            del layer.mlstm_backend
            layer.mlstm_backend = recurrent
    return wrapped


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 32), nn.GELU(), nn.Linear(32, 5))


def pictures() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 5)
    )


LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 32}
LLAMA = {**LAYERS, "hidden_size": 32, "max_position_embeddings": 256}

NATIVE = {"chunkwise_kernel": "chunkwise--native_autograd", "sequence_kernel": "native_sequence__native"}
XLSTM = {"hidden_size": 32, "num_blocks": 2, "num_heads": 2, "step_kernel": "native", "mode": "inference", **NATIVE}
DELTA = {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "decoder_sparse_step": 1}
NEXT = {**LLAMA, "num_hidden_layers": 4, "head_dim": 8, "shared_expert_intermediate_size": 16, **DELTA, **EXPERTS}

#: Language models.
TEXTS: Mapping[str, Callable[[], nn.Module]] = {
    "nn.LSTM": LongShortTerm,
    "nn.LSTMCell": Cell,
    "nn.GRU": Gated,
    "RetNet": Retention,
    "Mamba": Selective,
    "RWKV": Receptance,
    "nanoGPT": Nano,
    "SDPA with a cache": Kept,
    "N4": SelectiveCopying,
    "Llama": lambda: of_transformers("Llama", **LLAMA),
    "BitNet": lambda: of_transformers("BitNet", **LLAMA),
    "xLSTM": xlstm,
    "Qwen3-Next": lambda: of_transformers("Qwen3Next", **NEXT),
}
#: What is refused: the code, and the path of the module that it is about.
REFUSED: Mapping[str, tuple[Callable[[], nn.Module], str, str]] = {
    "xLSTM": (lambda: of_transformers("xLSTM", **XLSTM), "CHM211", "model.backbone.blocks.0.mlstm_layer.mlstm_backend"),
}
#: Others, with the shapes of their arguments.
TENSORS: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "MLP": (perceptron, (1, 12)),
    "ConvNet": (pictures, (1, 3, 8, 8)),
}


def made(name: str) -> nn.Module:
    """One of them with the same random weights each time."""
    torch.manual_seed(3)
    module = TEXTS[name]() if name in TEXTS else TENSORS[name][0]()
    return module.eval().requires_grad_(False)
