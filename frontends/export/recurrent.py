"""LSTM, GRU and RNN of PyTorch as scans over their sequence, while a module is traced.

PyTorch writes these layers out step by step when it traces them, for as many steps as the example has. Here each layer
and direction is one product for the whole sequence and a scan of what needs the step before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._higher_order_ops.scan import scan_op
from torch.overrides import TorchFunctionMode

#: carried values, a row [B, gates] of the products of the inputs, and the weights: the next carried values.
Step = Callable[..., list[Tensor]]


class WholeRecurrences(TorchFunctionMode):
    """Within, calls of PyTorch's recurrent layers are scans."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        step = _STEPS.get(function)
        if step is not None and not isinstance(args[2], Tensor):  # else of sequences of several lengths
            return _layers(step, *args)
        return function(*args, **(kwargs or {}))


def _lstm(h: Tensor, c: Tensor, gates: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None) -> list[Tensor]:
    i, f, g, o = (gates + F.linear(h, weight, bias)).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return [h if out is None else F.linear(h, out), c]


def _gru(h: Tensor, gates: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None) -> list[Tensor]:
    (r, z, n), (hr, hz, hn) = gates.chunk(3, -1), F.linear(h, weight, bias).chunk(3, -1)
    n = torch.tanh(n + torch.sigmoid(r + hr) * hn)
    return [n + torch.sigmoid(z + hz) * (h - n)]


def _tanh(h: Tensor, gates: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None) -> list[Tensor]:
    return [torch.tanh(gates + F.linear(h, weight, bias))]


def _relu(h: Tensor, gates: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None) -> list[Tensor]:
    return [torch.relu(gates + F.linear(h, weight, bias))]


_STEPS: Mapping[Any, Step] = {torch.lstm: _lstm, torch.gru: _gru, torch.rnn_tanh: _tanh, torch.rnn_relu: _relu}


@dataclass(frozen=True)
class _Weights:
    """Of one layer and direction."""

    inputs: Tensor
    hidden: Tensor
    input_bias: Tensor | None
    hidden_bias: Tensor | None
    out: Tensor | None  #: projection of an LSTM

    def run(self, step: Step, begin: Sequence[Tensor], x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The carried values after x [T, B, I], and the first of them after each row."""
        given = [self.hidden_bias, self.out]
        present = [w is not None for w in given]

        def body(*arguments: Tensor) -> list[Tensor]:
            carried, gates, weight, *more = arguments[: len(begin)], *arguments[len(begin) :]
            rest = iter(more)
            following = step(*carried, gates, weight, *(next(rest) if there else None for there in present))
            return [*following, following[0].clone()]

        products = F.linear(x, self.inputs, self.input_bias)
        weights = (self.hidden, *(w for w in given if w is not None))
        *end, rows = scan_op(body, list(begin), [products], weights)
        return end, rows


def _layers(
    step: Step,
    x: Tensor,
    state: Tensor | tuple[Tensor, ...],
    weights: Sequence[Tensor],
    biases: bool,
    layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, ...]:
    """As ``torch.lstm`` and its like: the outputs [T, B, D * H], then states [layers * D, B, H]."""
    states = (state,) if isinstance(state, Tensor) else tuple(state)
    directions = 2 if bidirectional else 1
    count = len(weights) // (layers * directions)
    x = x.transpose(0, 1) if batch_first else x
    ends: list[list[Tensor]] = []
    for layer in range(layers):
        if layer > 0:
            x = F.dropout(x, dropout, train) if dropout and train else x
        rows = []
        for direction in range(directions):
            index = layer * directions + direction
            held = list(weights[index * count : (index + 1) * count])
            input_bias, hidden_bias = held[2:4] if biases else (None, None)
            out = held[-1] if len(held) > (4 if biases else 2) else None
            begin = [s[index] for s in states]
            backwards = direction == 1
            end, made = _Weights(held[0], held[1], input_bias, hidden_bias, out).run(
                step, begin, x.flip(0) if backwards else x
            )
            rows.append(made.flip(0) if backwards else made)
            ends.append(end)
        x = torch.cat(rows, -1) if directions > 1 else rows[0]
    x = x.transpose(0, 1) if batch_first else x
    return (x, *(torch.stack(list(after)) for after in zip(*ends, strict=True)))
