"""Solving with unit lower triangular matrices, the one part of the delta rule that is no matrix product."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def solve_unit_lower(mixing: Tensor, rows: Tensor) -> Tensor:
    """(I + A)^-1 R. mixing: A [..., C, C], strictly lower triangular; rows: R [..., C, d].

    On a GPU, where substitution row by row leaves most of the chip idle, the inverse is made by matrix products.
    """
    if mixing.is_cuda:
        return invert_unit_lower(mixing) @ rows
    solved: Tensor = torch.linalg.solve_triangular(mixing, rows, upper=False, unitriangular=True)
    return solved


def invert_unit_lower(mixing: Tensor) -> Tensor:
    """(I + A)^-1 for strictly lower triangular A [..., C, C], in 2 log2 C matrix products.

    Blockwise: with the inverses X of the diagonal blocks of size b known, the inverse of a block of size 2b has
    -X22 A21 X11 below its diagonal. This is as stable as substitution; the series I - A + A^2 - ... is not.
    """
    inverse: Tensor = _UnitLowerInverse.apply(mixing)  # type: ignore[no-untyped-call]
    return inverse


class _UnitLowerInverse(torch.autograd.Function):
    """The inverse X and its derivative dA = -X^T dX X^T, cheaper than differentiating each product."""

    @staticmethod
    def forward(ctx: Any, mixing: Tensor) -> Tensor:
        size = mixing.shape[-1]
        index = torch.arange(size, device=mixing.device)
        inverse = torch.eye(size, dtype=mixing.dtype, device=mixing.device)
        width = 1
        while width < size:
            block = index // width
            pairs = (block[:, None] == block[None] + 1) & (block[None] % 2 == 0)
            below = mixing * pairs
            inverse = inverse - (below if width == 1 else inverse @ below @ inverse)
            width *= 2
        inverse = inverse.expand_as(mixing) if inverse.ndim < mixing.ndim else inverse
        ctx.save_for_backward(inverse)
        return inverse

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        inverse: Tensor = ctx.saved_tensors[0]
        return -(inverse.mT @ gradient @ inverse.mT).tril(-1)
