"""The shapes of what custom operations return, for torch.export: what they compute is never looked at."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: Told the arguments of an operation, in order, it gives tensors of the shapes of the results.
FakeResults = Callable[..., Tensor | tuple[Tensor, ...]]


def like(*places: int) -> FakeResults:
    """Each result is like the argument at its place; one alone is no tuple."""

    def fake(*arguments: Tensor) -> Tensor | tuple[Tensor, ...]:
        results = tuple(torch.empty_like(arguments[place]) for place in places)
        return results if len(places) > 1 else results[0]

    return fake


def product(x: Tensor, weight: Tensor, *options: float) -> Tensor:
    """x [T, K] times a weight [N, K]: [T, N]."""
    return x.new_empty(x.shape[0], weight.shape[0])


def table_rows(ids: Tensor, table: Tensor, *options: float) -> Tensor:
    """Rows ids [T] of a table [V, D]: [T, D]."""
    return table.new_empty(ids.shape[0], table.shape[1])
