"""Custom operations: products of hidden vectors that are mostly zeros, whose weights lie neuron by neuron.

Compiled, they read the rows of neurons that are not 0 only. ``chimera::sparse_linear`` is what a product with a gated
hidden vector is imported as; calling it says so of any other vector, of ReLU's for example.
"""

from __future__ import annotations

import torch
from torch import Tensor

from chimerac.frontends.layers.quantization import dequantize, weight_codes


@torch.library.custom_op("chimera::sparse_linear", mutates_args=())
def sparse_linear(hidden: Tensor, weight: Tensor) -> Tensor:
    """hidden [..., F] times weight [F, N] -> [..., N]."""
    return hidden @ weight


@torch.library.custom_op("chimera::bfloat16_sparse_linear", mutates_args=())
def bfloat16_sparse_linear(hidden: Tensor, weight: Tensor) -> Tensor:
    """sparse_linear with the weight rounded to bfloat16."""
    return hidden @ weight.bfloat16().float()


@torch.library.custom_op("chimera::float16_sparse_linear", mutates_args=())
def float16_sparse_linear(hidden: Tensor, weight: Tensor) -> Tensor:
    """sparse_linear with the weight rounded to float16."""
    return hidden @ weight.half().float()


@torch.library.custom_op("chimera::int8_sparse_linear", mutates_args=())
def int8_sparse_linear(hidden: Tensor, weight: Tensor, group: int) -> Tensor:
    """sparse_linear with the weight as int8 codes, a scale for each ``group`` outputs of a neuron."""
    return hidden @ dequantize(*weight_codes(weight, group, "int8"), group)


@torch.library.custom_op("chimera::ternary_sparse_linear", mutates_args=())
def ternary_sparse_linear(hidden: Tensor, weight: Tensor, group: int) -> Tensor:
    """sparse_linear with the weight as trits, a scale for each ``group`` outputs of a neuron."""
    return hidden @ dequantize(*weight_codes(weight, group, "ternary"), group)


@sparse_linear.register_fake
@bfloat16_sparse_linear.register_fake
@float16_sparse_linear.register_fake
@int8_sparse_linear.register_fake
@ternary_sparse_linear.register_fake
def _(hidden: Tensor, weight: Tensor, group: int = 0) -> Tensor:
    return hidden.new_empty(*hidden.shape[:-1], weight.shape[1])
