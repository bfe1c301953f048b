"""Random language models in PyTorch, drawn by hypothesis: chains of functions, some of which look at former tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from attention_modules import flash, placed, sloped, windowed
from hypothesis import strategies as st
from ir_tools import draw
from torch import Tensor, nn

import chimerac

WIDTH, VOCABULARY, HEADS = 8, 24, 4
CONTEXT, BLOCK = 16, 4


@dataclass(frozen=True)
class Step:
    """A function of one of the values so far, or of two; both are counted from the newest."""

    kind: str
    first: int
    second: int


class Drawn(nn.Module):
    """Values [T, 8], each made of former ones; the last one's scores are the logits."""

    def __init__(self, steps: Sequence[Step]) -> None:
        super().__init__()
        self.steps = tuple(steps)
        self.table = nn.Parameter(_tensor(1, VOCABULARY, WIDTH))
        self.head = nn.Parameter(_tensor(2, VOCABULARY, WIDTH))
        self.vector, self.matrix = nn.Parameter(_tensor(3, WIDTH)), nn.Parameter(_tensor(4, WIDTH, WIDTH) * 0.4)
        torch.manual_seed(5)
        kinds = {step.kind for step in steps}
        self.lstm = nn.LSTM(WIDTH, WIDTH) if "lstm" in kinds else None
        self.gru = nn.GRU(WIDTH, WIDTH) if "gru" in kinds else None
        self.eval().requires_grad_(False)

    @property
    def looks_back(self) -> bool:
        """Whether some attention that the logits depend on is over all tokens before."""
        needed, kinds = {len(self.steps)}, set[str]()
        for place in range(len(self.steps), 0, -1):
            if place in needed:
                step = self.steps[place - 1]
                kinds.add(step.kind)
                needed |= {place - 1 - back % place for back in (step.first, step.second)[: 1 + (step.kind in TWO)]}
        return not kinds.isdisjoint(("flash", "sloped"))

    def forward(self, tokens: Tensor) -> Tensor:
        values = [F.embedding(tokens, self.table)]
        for step in self.steps:
            first, second = (values[-1 - back % len(values)] for back in (step.first, step.second))
            if step.kind in TWO:
                values.append(TWO[step.kind](first, second))
            else:
                values.append(ONE[step.kind](self, first, tokens.long()))
        return F.linear(values[-1], self.head)


def _tensor(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(draw(seed, *shape))


def _attention(attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[Drawn, Tensor, Tensor], Tensor]:
    def one(m: Drawn, x: Tensor, tokens: Tensor) -> Tensor:
        q, k, v = (y.view(1, -1, HEADS, WIDTH // HEADS).transpose(1, 2) for y in (x @ m.matrix, x * m.vector, x))
        return attend(q, k, v).transpose(1, 2).reshape(-1, WIDTH)

    return one


def _scanned(m: Drawn, x: Tensor, tokens: Tensor) -> Tensor:
    def step(held: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        held = torch.tanh(held @ m.matrix) * 0.5 + row
        return held, held * m.vector

    found: Tensor = chimerac.scan(step, m.vector, x)[1]
    return found


def _of_layer(name: str) -> Callable[[Drawn, Tensor, Tensor], Tensor]:
    def one(m: Drawn, x: Tensor, tokens: Tensor) -> Tensor:
        found: Tensor = getattr(m, name)(x)[0]
        return found

    return one


def _filled(m: Drawn, x: Tensor, tokens: Tensor) -> Tensor:
    x = x.clone()
    x[tokens % 3 == 0] = m.vector
    x[:, torch.tensor([5, 0, 5])] = x[:, 1:4].tanh()
    return x


def _three(tokens: Tensor) -> Tensor:
    """Three places of each token, perhaps the same: [T, 3]."""
    return torch.stack([tokens % 8, tokens * 3 % 8, tokens // 2 % 8], -1)


#: x [T, 8] → [T, 8], continuous in x, so that what differs in the last bits stays near; places depend on tokens only.
ONE: dict[str, Callable[[Drawn, Tensor, Tensor], Tensor]] = {
    "relu": lambda m, x, tokens: F.relu(x) - F.leaky_relu(x, 0.2),
    "gelu": lambda m, x, tokens: F.gelu(x, approximate="tanh") + F.gelu(x),
    "elu": lambda m, x, tokens: F.elu(x) + F.hardswish(x) * F.silu(x).tanh(),
    "sine": lambda m, x, tokens: torch.sin(3 * x) * torch.cos(x) * m.vector,
    "erf": lambda m, x, tokens: torch.erf(x) + x.sigmoid() * x.clamp(-2, 2),
    "atan": lambda m, x, tokens: torch.atan(x) + torch.atan2(x, 1 + x.square()),
    "powers": lambda m, x, tokens: x.abs().clamp_min(0.1).pow(1.5).log1p() - (1 + x.square()).rsqrt(),
    "softmax": lambda m, x, tokens: x.softmax(-1) + x.log_softmax(-1) * 0.1,
    "layer norm": lambda m, x, tokens: F.layer_norm(x, (WIDTH,), m.vector, m.vector) * 0.5,
    "rms norm": lambda m, x, tokens: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * m.vector,
    "group norm": lambda m, x, tokens: F.group_norm(x, 4),
    "variance": lambda m, x, tokens: (x - x.mean(-1, keepdim=True)) / (1 + x.var(-1, keepdim=True)),
    "sums": lambda m, x, tokens: x.view(-1, 2, 4).transpose(1, 2).cumsum(1).flatten(1) * 0.2,
    "products": lambda m, x, tokens: x.tanh().cumprod(-1),
    "turned": lambda m, x, tokens: x.view(-1, 2, 4).permute(2, 0, 1).flip(0).permute(1, 2, 0).reshape(-1, 8),
    "rolled": lambda m, x, tokens: x.roll(3, 1) - x.mean(-1, keepdim=True),
    "sorted": lambda m, x, tokens: x.sort(-1, descending=True).values * m.vector,
    "largest": lambda m, x, tokens: x.topk(4, -1).values.repeat(1, 2) - x.amin(-1, keepdim=True),
    "matrix": lambda m, x, tokens: (x @ m.matrix).tanh() + torch.einsum("td,ed->te", x, m.matrix) * 0.1,
    "conv1d": lambda m, x, tokens: F.conv1d(x.view(-1, 2, 4), m.matrix[:2, :6].reshape(2, 2, 3), padding=1).flatten(1),
    "conv2d": lambda m, x, tokens: F.conv2d(
        x.view(-1, 2, 2, 2), m.matrix[:2].reshape(2, 2, 2, 2), padding="same"
    ).flatten(1),
    "pools": lambda m, x, tokens: F.pad(F.max_pool1d(x.view(-1, 2, 4), 2), (1, 1), value=0.5).flatten(1),
    "picked": lambda m, x, tokens: x[:, torch.tensor([7, 0, 3, 3, 1, 2, 6, 5])] / (1 + x.norm(dim=-1, keepdim=True)),
    "gathered": lambda m, x, tokens: torch.cat([x.gather(-1, _three(tokens)), x[:, 3:]], -1),
    "scattered": lambda m, x, tokens: x.scatter(-1, _three(tokens), x[:, 2:5] * 0.5),
    "added": lambda m, x, tokens: x.scatter_add(-1, _three(tokens), x[:, 2:5] * 0.5),
    "reduced": lambda m, x, tokens: x.scatter_reduce(-1, _three(tokens), x[:, 2:5], "amax", include_self=False),
    "filled": _filled,
    "one hot": lambda m, x, tokens: x * F.one_hot(tokens % 8, 8) + m.table[tokens // 2] * 0.3,
    "integers": lambda m, x, tokens: x + ((tokens * 7 + 3) // 2 % 5 - 2).float()[:, None] * m.vector * 0.2,
    "stacked": lambda m, x, tokens: torch.stack([x[:, ::2], x[:, 1::2].clamp_max(3).exp()], -1).flatten(1).tanh(),
    "flash": _attention(flash),
    "sloped": _attention(sloped),
    "placed": _attention(placed),
    "windowed": _attention(windowed),
    "lstm": _of_layer("lstm"),
    "gru": _of_layer("gru"),
    "scan": _scanned,
}
TWO: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": lambda a, b: a + b,
    "product": lambda a, b: a * b.tanh(),
    "smaller": lambda a, b: torch.where(a < b, a, b),
    "larger": lambda a, b: torch.maximum(a, -b) * 0.5,
    "halves": lambda a, b: torch.cat([a[:, :4], b[:, 4:]], -1),
    "matrices": lambda a, b: (a.view(-1, 2, 4).tanh() @ b.view(-1, 4, 2).tanh()).flatten(1).repeat(1, 2),
    "quotient": lambda a, b: a / (1 + b.square()),
}

_STEPS = st.builds(Step, st.sampled_from([*ONE, *TWO]), st.integers(0, 2), st.integers(0, 5))


def _once_each(steps: Sequence[Step]) -> bool:
    """Whether no recurrent layer is called twice: it has one state, so that such modules are refused (CHM211)."""
    kinds = [step.kind for step in steps]
    return all(kinds.count(layer) <= 1 for layer in ("lstm", "gru"))


#: Modules of one to six steps.
MODULES = st.lists(_STEPS, min_size=1, max_size=6).filter(_once_each).map(Drawn)
