"""Custom operations: products of the rows that a predictor chose, which are all that is read once compiled."""

from __future__ import annotations

import torch
from torch import Tensor

from chimerac.frontends.layers.quantization import dequantize, quantized_product, weight_codes


@torch.library.custom_op("chimera::chosen_linear", mutates_args=())
def chosen_linear(chosen: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """x [T, K] times the rows of weight [F, K] where chosen [T, F] is not 0; 0 elsewhere -> [T, F]."""
    return torch.where(chosen != 0, x @ weight.T, 0.0)


@torch.library.custom_op("chimera::ternary_chosen_linear", mutates_args=())
def ternary_chosen_linear(chosen: Tensor, x: Tensor, weight: Tensor, group: int, block: int) -> Tensor:
    """chosen_linear as ternary_linear computes it."""
    y = quantized_product(x, *weight_codes(weight, group, "ternary"), group, block)
    return torch.where(chosen != 0, y, 0.0)


@torch.library.custom_op("chimera::int8_chosen_linear", mutates_args=())
def int8_chosen_linear(chosen: Tensor, x: Tensor, weight: Tensor, group: int, block: int) -> Tensor:
    """chosen_linear as int8_linear computes it."""
    y = quantized_product(x, *weight_codes(weight, group, "int8"), group, block)
    return torch.where(chosen != 0, y, 0.0)


@torch.library.custom_op("chimera::int8_row_lengths", mutates_args=())
def int8_row_lengths(weight: Tensor, group: int) -> Tensor:
    """Of each row w of weight [F, K] the lengths of w - w' and w', w' the value of its int8 codes, and a part of 10^-4
    of the row's for what float32 rounds -> [F, 2]."""
    near = dequantize(*weight_codes(weight, group, "int8"), group).double()
    left, whole, rounded = (torch.linalg.vector_norm(rows, dim=-1) for rows in (weight - near, weight.double(), near))
    return torch.stack([left + 1e-4 * whole, rounded * (1 + 1e-4)], -1).float()


@int8_row_lengths.register_fake
def _(weight: Tensor, group: int) -> Tensor:
    return weight.new_empty(weight.shape[0], 2)


@chosen_linear.register_fake
@ternary_chosen_linear.register_fake
@int8_chosen_linear.register_fake
def _(chosen: Tensor, x: Tensor, weight: Tensor, group: int = 0, block: int = 0) -> Tensor:
    return torch.empty_like(chosen)
