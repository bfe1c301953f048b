"""The matrix products of the training form: several projections of one input as one product, in few kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from chimerac.frontends.layers.quantization import large_enough, product_dtype, straight_through_activations


class Projection(Protocol):
    """What a product needs of a layer; ``linear.TernaryLinear`` is one."""

    group: int
    block: int
    sparse_gradient: bool
    ternary: bool

    @property
    def weight(self) -> Tensor: ...

    def dequantized(self) -> Tensor: ...


def joint_product(x: Tensor, layers: Sequence[Projection]) -> tuple[Tensor, ...]:
    """x W^T of several layers that read the same x and have no norm of their own, as ``layer(x)`` would give it.

    The input is quantised once, and the weights, one below the other, are multiplied at once.

    Args:
        x: [..., K], normed.

    Returns:
        one float32 [..., N] for each layer.
    """
    y = stacked_product(x, layers)
    return torch.split(y, [layer.weight.shape[0] for layer in layers], dim=-1)


def stacked_product(x: Tensor, layers: Sequence[Projection]) -> Tensor:
    """``joint_product`` before it is split: float32 [..., sum of N]."""
    first = layers[0]
    return product_of_rounded(straight_through_activations(x, first.block) if first.ternary else x, layers)


def product_of_rounded(x: Tensor, layers: Sequence[Projection]) -> Tensor:
    """``stacked_product`` of what ``straight_through_activations`` left."""
    first = layers[0]
    group = first.group if first.sparse_gradient else None
    with torch.no_grad():
        table = stacked([layer.dequantized() for layer in layers])
    y: Tensor = _Product.apply(x, table, group, *(layer.weight for layer in layers))  # type: ignore[no-untyped-call]
    return y


def stacked(tables: Sequence[Tensor]) -> Tensor:
    """Matrices [N, K] one below the other; without copying when they already lie so in one storage."""
    first = tables[0]
    if len(tables) == 1:
        return first
    if torch.compiler.is_compiling():
        return torch.cat(list(tables))
    end = first.data_ptr() if first.stride(-1) == 1 else -1
    for table in tables:
        if table.data_ptr() != end or table.stride() != first.stride():
            return torch.cat(list(tables))
        end += table.shape[0] * table.stride(0) * table.element_size()
    rows = sum(table.shape[0] for table in tables)
    return first.as_strided((rows, first.shape[1]), first.stride(), first.storage_offset())


class _Product(torch.autograd.Function):
    """x T^T, T made from the weights by rounding; the weights' gradient is T's, straight through.

    Factors are in ``product_dtype``, sums and results float32. ``group`` is given when only weights that are
    ``large_enough`` get a gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, group: int | None, *weights: Tensor) -> Tensor:
        dtype = product_dtype(x)
        rows, table = x.flatten(0, -2).to(dtype), table.to(dtype)
        ctx.save_for_backward(rows, table, *(weights if group is not None else ()))
        ctx.group, ctx.sizes, ctx.dtype = group, [w.shape[0] for w in weights], x.dtype
        return multiply(rows, table.mT).view(*x.shape[:-1], table.shape[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, table, *weights = ctx.saved_tensors
        gradient = gradient.to(rows.dtype)
        flat = gradient.flatten(0, -2)
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = (flat @ table).view(*gradient.shape[:-1], table.shape[1]).to(ctx.dtype)
        to_weights = list(torch.split(multiply(flat.mT, rows), ctx.sizes))
        if weights:
            to_weights = [g * large_enough(w, ctx.group) for g, w in zip(to_weights, weights, strict=True)]
        return to_x, None, None, *to_weights


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """a @ b as float32, summed in float32. a: [n, k]; b: [k, m], of one type."""
    if a.dtype == torch.float32:
        return a @ b
    if _float32_results and a.is_cuda and not torch.compiler.is_compiling():
        try:
            product: Tensor = torch.mm(a, b, out_dtype=torch.float32)
        except (TypeError, RuntimeError):  # an older PyTorch, or a device that can't
            _float32_results.clear()
        else:
            return product
    return (a @ b).float()


_float32_results = [True]  #: empty once PyTorch could not leave a product of half-precision matrices in float32
