"""Embeddings as codes, with a gradient: each number one of 10^7 levels between -c and c (compiler/ir/ops/levels.py)."""

from __future__ import annotations

from torch import Tensor

from chimerac.frontends.layers.ops_levels import nearest_levels


def rounded(x: Tensor, levels: int, limit: float) -> Tensor:
    """The values of the nearest codes; the gradient is that of the identity within ±limit, and 0 beyond."""
    within = x.clamp(-limit, limit)
    return nearest_levels(within.detach(), levels, limit).to(x.dtype) + (within - within.detach())
