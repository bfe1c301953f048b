"""Custom operations: tables whose numbers are one of so many levels, as codes of 3 bytes once compiled."""

from __future__ import annotations

import torch
from torch import Tensor

from chimerac.frontends.layers.op_shapes import product, table_rows


@torch.library.custom_op("chimera::levels_linear", mutates_args=())
def levels_linear(x: Tensor, weight: Tensor, levels: int, limit: float) -> Tensor:
    """x [..., K] times the weight [N, K] of the nearest of ``levels`` numbers between ±limit -> [..., N]."""
    return x @ nearest_levels(weight, levels, limit).T


@torch.library.custom_op("chimera::levels_embedding", mutates_args=())
def levels_embedding(ids: Tensor, table: Tensor, levels: int, limit: float) -> Tensor:
    """Rows i32 [T] of the table [V, K], likewise rounded -> [T, K]."""
    return nearest_levels(table[ids], levels, limit)


levels_linear.register_fake(product)
levels_embedding.register_fake(table_rows)


def nearest_levels(x: Tensor, levels: int, limit: float) -> Tensor:
    """The float32 numbers of the nearest codes (compiler/ir/ops/levels.py).

    Codes are found in float64: float32 takes 464,946 of 10^7 for a neighbour.
    """
    codes = torch.round((x.clamp(-limit, limit).double() + limit) * ((levels - 1) / (2 * limit)))
    return ((2 * codes - (levels - 1)) / (levels - 1)).float() * limit
