"""Recurrent layers of a module that sees a whole text: they go on where the last call ended.

``nn.LSTM`` without an initial state begins with zeros, which is right for a whole text and for no part of it but the
first. While such a module is traced its layers have buffers with the state, as those of a module that is called step by
step have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from chimerac.compiler.errors import UserError

#: Names of the buffers; the second is the cell state of an LSTM.
BUFFERS = ("carried_h", "carried_c")


def is_carried(buffers: Iterable[str]) -> bool:
    """Whether buffers are none but those that ``going_on`` adds."""
    return all(name.rpartition(".")[2] in BUFFERS for name in buffers)


@contextmanager
def going_on(module: nn.Module) -> Iterator[None]:
    """Within, layers that are called without an initial state, for as many steps as there are tokens, carry it on.

    Raises:
        UserError: CHM211, in the call of a layer that has more than one text at a time, or is called twice.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, nn.RNNBase) and not layer.bidirectional]
    for layer in layers:
        for name, width in zip(BUFFERS, _widths(layer), strict=False):
            layer.register_buffer(name, torch.zeros(layer.num_layers, width))
        layer.forward = partial(_forward, layer, layer.forward, [])
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
            for name in BUFFERS:
                layer._buffers.pop(name, None)


def _widths(layer: nn.RNNBase) -> tuple[int, ...]:
    if isinstance(layer, nn.LSTM):
        return (layer.proj_size or layer.hidden_size, layer.hidden_size)
    return (layer.hidden_size,)


def _forward(layer: nn.RNNBase, forward: Callable[..., Any], calls: list[None], x: Any, hx: Any = None) -> Any:
    single = isinstance(x, Tensor) and x.dim() == 2
    steps = 0 if single or not layer.batch_first else 1
    if hx is not None or not isinstance(x, Tensor) or isinstance(x.shape[steps], int):
        return forward(x, hx)
    what = f"{type(layer).__name__} without an initial state"
    if not single and x.shape[1 - steps] != 1:
        raise UserError("CHM211", f"{what} is supported for one text at a time only")
    calls.append(None)
    if len(calls) > 1:
        raise UserError("CHM211", f"a {what} is called twice", hint="give each call a layer, or a state, of its own")
    held: list[Tensor] = [getattr(layer, name) for name in BUFFERS if hasattr(layer, name)]
    begin = held if single else [buffer[:, None] for buffer in held]
    y, end = forward(x, tuple(begin) if len(begin) > 1 else begin[0])
    for buffer, value in zip(held, end if len(held) > 1 else [end], strict=True):
        buffer.copy_(value if single else value[:, 0])
    return y, end
