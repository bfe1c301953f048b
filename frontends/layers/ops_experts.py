"""Custom operations of experts as published models write them: rows sorted by expert, and products of each one's rows.

Symbols: T tokens, k experts per token, E experts. Rows [T, k, ...] are sorted by expert; offsets, i32 [E + 1], say
where each one's begin among the T k.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from chimerac.frontends.layers.quantization import quantized_product, weight_codes


@torch.library.custom_op("chimera::sort_pairs", mutates_args=())
def sort_pairs(chosen: Tensor, experts: int) -> tuple[Tensor, Tensor, Tensor]:
    """Stable order of the pairs (token, slot) by expert.

    Args:
        chosen: i32 [T, k], of each token different ones.

    Returns:
        i32 [T, k] the pair at each sorted place, i32 [T, k] the place of each pair, and the offsets.
    """
    flat = chosen.flatten()
    order = torch.argsort(flat, stable=True)
    ends = torch.bincount(flat, minlength=experts).cumsum(0)
    offsets = torch.cat([ends.new_zeros(1), ends])
    place = torch.argsort(order)
    return order.int().view_as(chosen), place.int().view_as(chosen), offsets.int()


@sort_pairs.register_fake
def _(chosen: Tensor, experts: int) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(chosen), torch.empty_like(chosen), chosen.new_empty(experts + 1)


@torch.library.custom_op("chimera::gather_rows", mutates_args=())
def gather_rows(x: Tensor, order: Tensor) -> Tensor:
    """The row of x [T, D] of each sorted pair's token: [T, k, D]."""
    return x[order // order.shape[1]]


@gather_rows.register_fake
def _(x: Tensor, order: Tensor) -> Tensor:
    return x.new_empty(*order.shape, x.shape[1])


@torch.library.custom_op("chimera::combine_experts", mutates_args=())
def combine_experts(rows: Tensor, place: Tensor, weights: Tensor) -> Tensor:
    """The sum of weights [T, k] times a token's rows [T, k, D], which are at ``place``: [T, D]."""
    return (weights[..., None] * rows.flatten(0, 1)[place]).sum(1)


@combine_experts.register_fake
def _(rows: Tensor, place: Tensor, weights: Tensor) -> Tensor:
    return rows.new_empty(rows.shape[0], rows.shape[2])


def _each(x: Tensor, weight: Tensor, offsets: Tensor, product: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Each expert's rows of x [T, k, K] times its matrix of the weight [E, N, K]: [T, k, N]."""
    flat, bounds = x.flatten(0, 1), offsets.tolist()
    y = flat.new_zeros(len(flat), weight.shape[1])
    for expert, (begin, end) in enumerate(pairwise(bounds)):
        if begin < end:
            y[begin:end] = product(flat[begin:end], weight[expert])
    return y.view(*x.shape[:2], -1)


def _shape(x: Tensor, weight: Tensor, offsets: Tensor, *sizes: int) -> Tensor:
    return x.new_empty(*x.shape[:2], weight.shape[1])


@torch.library.custom_op("chimera::grouped_linear", mutates_args=())
def grouped_linear(x: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    """Rows x [T, k, K] times the matrix of their expert of the weight [E, N, K] -> [T, k, N]."""
    return _each(x, weight, offsets, torch.nn.functional.linear)


@torch.library.custom_op("chimera::grouped_bfloat16_linear", mutates_args=())
def grouped_bfloat16_linear(x: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    """The same with the weight rounded to bfloat16."""
    return _each(x, weight, offsets, lambda rows, w: torch.nn.functional.linear(rows, w.bfloat16().float()))


@torch.library.custom_op("chimera::grouped_float16_linear", mutates_args=())
def grouped_float16_linear(x: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    """The same with the weight rounded to float16."""
    return _each(x, weight, offsets, lambda rows, w: torch.nn.functional.linear(rows, w.half().float()))


@torch.library.custom_op("chimera::grouped_ternary_linear", mutates_args=())
def grouped_ternary_linear(x: Tensor, weight: Tensor, offsets: Tensor, group: int, block: int) -> Tensor:
    """The same with the ternary codes of the weight and int8 activations."""

    def product(rows: Tensor, w: Tensor) -> Tensor:
        return quantized_product(rows, *weight_codes(w, group, "ternary"), group, block)

    return _each(x, weight, offsets, product)


@torch.library.custom_op("chimera::grouped_int8_linear", mutates_args=())
def grouped_int8_linear(x: Tensor, weight: Tensor, offsets: Tensor, group: int, block: int) -> Tensor:
    """The same with int8 codes of the weight and int8 activations."""

    def product(rows: Tensor, w: Tensor) -> Tensor:
        return quantized_product(rows, *weight_codes(w, group, "int8"), group, block)

    return _each(x, weight, offsets, product)


for operation in (
    grouped_linear,
    grouped_bfloat16_linear,
    grouped_float16_linear,
    grouped_ternary_linear,
    grouped_int8_linear,
):
    operation.register_fake(_shape)
