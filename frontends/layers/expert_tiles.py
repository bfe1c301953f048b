"""Dispatch of tokens to experts in tiles: equal batched products whatever the routing is, no token dropped.

The rows of one expert fill whole tiles, the last of them up with zeros, so every shape follows from the sizes alone:
nothing waits for the routing and a compiler sees static shapes. Gathers know their inverse, so that neither direction
adds into shared rows: results do not depend on the order of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

SMALLEST_TILE, LARGEST_TILE = 8, 512  #: rows


@dataclass(frozen=True)
class Tiles:
    """Where the pairs (token, slot), N * k of them, lie among the rows of the tiles.

    Attributes:
        counts: int64 [E], pairs per expert.
        experts: int64 [tiles], the expert of each tile.
        row_of_pair: int64 [N * k]. pair_of_row: int64 [rows]; N * k for rows that only fill up.
    """

    counts: Tensor
    experts: Tensor
    row_of_pair: Tensor
    pair_of_row: Tensor

    def gather(self, x: Tensor, top_k: int) -> Tensor:
        """The tokens' vectors x [N, D], tile by tile: [tiles, rows of a tile, D]."""
        rows: Tensor = _Gather.apply(x, self.row_of_pair, self.pair_of_row, top_k)  # type: ignore[no-untyped-call]
        return rows.view(len(self.experts), -1, x.shape[-1])

    def collect(self, z: Tensor) -> Tensor:
        """The pairs' vectors [N * k, D] from z [tiles, rows of a tile, D]."""
        rows: Tensor = _Collect.apply(z.flatten(0, 1), self.row_of_pair, self.pair_of_row)  # type: ignore[no-untyped-call]
        return rows

    def weights(self, weight: Tensor) -> Tensor:
        """The weights of each tile's expert: [E, ...] -> [tiles, ...]."""
        chosen: Tensor = _Repeat.apply(weight, self.experts)  # type: ignore[no-untyped-call]
        return chosen


def make_tiles(chosen: Tensor, experts: int) -> Tiles:
    """Tiles for the choices ``chosen``, expert numbers [N, k]. Within an expert, tokens are in ascending order."""
    flat = chosen.flatten()
    pairs = flat.numel()
    tile = SMALLEST_TILE
    while tile < LARGEST_TILE and tile * 8 * experts <= pairs:
        tile *= 2
    tiles = (pairs + experts * (tile - 1)) // tile
    # pairs along the last axis, where GPUs sum up in parallel
    visits = (torch.arange(experts, device=flat.device)[:, None] == flat).to(torch.int64)
    counts = visits.sum(1)
    ends = ((counts + tile - 1) // tile * tile).cumsum(0)
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    rank = (visits.cumsum(1) - 1).gather(0, flat[None]).squeeze(0)
    row_of_pair = starts[flat] + rank
    arange = torch.arange(pairs, device=flat.device)
    pair_of_row = torch.full((tiles * tile,), pairs, device=flat.device).scatter(0, row_of_pair, arange)
    first_rows = torch.arange(tiles, device=flat.device) * tile
    owners = (first_rows[:, None] >= ends).sum(1).clamp(max=experts - 1)
    return Tiles(counts, owners, row_of_pair, pair_of_row)


class _Gather(torch.autograd.Function):
    """Rows of x by token; the gradient of a token is the sum over its k rows, in slot order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, row_of_pair: Tensor, pair_of_row: Tensor, top_k: int) -> Tensor:
        ctx.save_for_backward(row_of_pair)
        ctx.top_k = top_k
        padded = torch.cat([x, x.new_zeros(1, x.shape[1])])
        return padded[pair_of_row // top_k]  # filling pairs are number N * k, so their token is the row of zeros

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (row_of_pair,) = ctx.saved_tensors
        return gradient[row_of_pair].view(-1, ctx.top_k, gradient.shape[1]).sum(1), None, None, None


class _Collect(torch.autograd.Function):
    """Rows by pair; the gradient of a row that fills up is zero."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, row_of_pair: Tensor, pair_of_row: Tensor) -> Tensor:
        ctx.save_for_backward(pair_of_row)
        return z[row_of_pair]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (pair_of_row,) = ctx.saved_tensors
        return torch.cat([gradient, gradient.new_zeros(1, gradient.shape[1])])[pair_of_row], None, None


class _Repeat(torch.autograd.Function):
    """Weights by tile; an expert's gradient is the sum over its tiles, as a product with their indicators."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, experts: Tensor) -> Tensor:
        ctx.save_for_backward(experts)
        ctx.count = weight.shape[0]
        return weight[experts]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (experts,) = ctx.saved_tensors
        visits = experts == torch.arange(ctx.count, device=experts.device)[:, None]
        total = visits.to(gradient.dtype) @ gradient.flatten(1)
        return total.view(ctx.count, *gradient.shape[1:]), None
