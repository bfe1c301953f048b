"""The custom operations ``chimera::*`` that torch.export keeps whole, with their meaning in eager PyTorch.

All are unbatched (T tokens first), float32, functional (no argument is changed) and return fresh tensors (no result
shares memory with an argument). They are for inference: training uses the differentiable batch forms of the layers.
The recurrences are in ``ops_recurrent``, attention with a cache in ``ops_attention``, the Titans mixer's in
``ops_memory``, experts of published models in ``ops_experts``, products with gated neurons in ``ops_sparse`` and
``ops_chosen``, tables of codes in ``ops_levels``, the span knot's correction in ``ops_knot``; importing
this module registers them all.

The eager forms define the maths, not the bits: the order of float additions is free here except in the quantised
products (see quantization.quantized_product).
"""

from __future__ import annotations

import torch
from torch import Tensor

from chimerac.frontends.layers import (
    ops_attention,
    ops_chosen,
    ops_experts,
    ops_knot,
    ops_levels,
    ops_memory,
    ops_recurrent,
    ops_rotations,
    ops_sparse,
)
from chimerac.frontends.layers.op_shapes import like, product, table_rows
from chimerac.frontends.layers.quantization import dequantize, quantized_product, weight_codes

causal_conv = ops_recurrent.causal_conv
gated_delta = ops_recurrent.gated_delta
gated_linear_attention = ops_recurrent.gated_linear_attention
generalized_delta = ops_recurrent.generalized_delta
mlstm = ops_recurrent.mlstm
rope = ops_memory.rope
window_attention = ops_memory.window_attention
titans_anchor = ops_memory.titans_anchor
titans_apply = ops_memory.titans_apply
titans_update = ops_memory.titans_update
cached_attention = ops_attention.cached_attention
gated_cached_attention = ops_attention.gated_cached_attention
walsh_hadamard = ops_rotations.walsh_hadamard
knot_relax = ops_knot.knot_relax
levels_linear = ops_levels.levels_linear
levels_embedding = ops_levels.levels_embedding
chosen_linear = ops_chosen.chosen_linear
ternary_chosen_linear = ops_chosen.ternary_chosen_linear
int8_chosen_linear = ops_chosen.int8_chosen_linear
int8_row_lengths = ops_chosen.int8_row_lengths
sparse_linear = ops_sparse.sparse_linear
bfloat16_sparse_linear = ops_sparse.bfloat16_sparse_linear
float16_sparse_linear = ops_sparse.float16_sparse_linear
int8_sparse_linear = ops_sparse.int8_sparse_linear
ternary_sparse_linear = ops_sparse.ternary_sparse_linear
sort_pairs = ops_experts.sort_pairs
gather_rows = ops_experts.gather_rows
combine_experts = ops_experts.combine_experts
grouped_linear = ops_experts.grouped_linear
grouped_bfloat16_linear = ops_experts.grouped_bfloat16_linear
grouped_float16_linear = ops_experts.grouped_float16_linear
grouped_ternary_linear = ops_experts.grouped_ternary_linear
grouped_int8_linear = ops_experts.grouped_int8_linear


def rms_norm_reference(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis, for any leading axes."""
    return x / torch.sqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def l2_norm_reference(x: Tensor, eps: float) -> Tensor:
    """x / sqrt(sum(x^2) + eps) over the last axis. An all-zero x gives zeros."""
    return x / torch.sqrt(x.square().sum(-1, keepdim=True) + eps)


@torch.library.custom_op("chimera::rms_norm", mutates_args=())
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMS norm of the last axis. x: [T, D] or [T, H, d]; weight: [D] or [d]."""
    return rms_norm_reference(x, weight, eps)


rms_norm.register_fake(like(0))


@torch.library.custom_op("chimera::l2_norm", mutates_args=())
def l2_norm(x: Tensor, eps: float) -> Tensor:
    """Unit length along the last axis. x: [T, H, d]."""
    return l2_norm_reference(x, eps)


l2_norm.register_fake(like(0))


@torch.library.custom_op("chimera::ternary_linear", mutates_args=())
def ternary_linear(x: Tensor, weight: Tensor, group: int, block: int) -> Tensor:
    """x [T, K], already normed, times the ternary codes of the latent weight [N, K] -> [T, N]."""
    return quantized_product(x, *weight_codes(weight, group, "ternary"), group, block)


ternary_linear.register_fake(product)


@torch.library.custom_op("chimera::ternary_row_linear", mutates_args=())
def ternary_row_linear(x: Tensor, weight: Tensor, group: int, block: int) -> Tensor:
    """As ternary_linear, but x has one scale for all channels of a token, as BitNet's published models have it."""
    return quantized_product(x, *weight_codes(weight, group, "ternary"), group, block, row=True)


ternary_row_linear.register_fake(product)


@torch.library.custom_op("chimera::int8_linear", mutates_args=())
def int8_linear(x: Tensor, weight: Tensor, group: int, block: int) -> Tensor:
    """x [T, K], already normed, times the int8 codes of weight [V, K] -> [T, V]."""
    return quantized_product(x, *weight_codes(weight, group, "int8"), group, block)


int8_linear.register_fake(product)


@torch.library.custom_op("chimera::int8_embedding", mutates_args=())
def int8_embedding(ids: Tensor, weight: Tensor, group: int) -> Tensor:
    """Rows ids (i32 [T]) of the int8 weight [V, D], dequantised -> [T, D]. The weight is int8_linear's."""
    codes, scales = weight_codes(weight, group, "int8")
    return dequantize(codes[ids], scales[ids], group)


int8_embedding.register_fake(table_rows)


@torch.library.custom_op("chimera::ternary_embedding", mutates_args=())
def ternary_embedding(ids: Tensor, weight: Tensor, group: int) -> Tensor:
    """Rows ids (i32 [T]) of the ternary weight [V, D], dequantised -> [T, D]. The weight is ternary_linear's."""
    codes, scales = weight_codes(weight, group, "ternary")
    return dequantize(codes[ids], scales[ids], group)


ternary_embedding.register_fake(table_rows)


@torch.library.custom_op("chimera::ternary_codes_linear", mutates_args=())
def ternary_codes_linear(x: Tensor, codes: Tensor, scales: Tensor, group: int, block: int) -> Tensor:
    """x [T, K], already normed, times trits int8 [N, K] with scales float16 [N, ceil(K/group)] -> [T, N]."""
    return quantized_product(x, codes, scales.float(), group, block)


@torch.library.custom_op("chimera::int8_codes_linear", mutates_args=())
def int8_codes_linear(x: Tensor, codes: Tensor, scales: Tensor, group: int, block: int) -> Tensor:
    """x [T, K], already normed, times codes int8 [N, K] within ±127 with scales float16 -> [T, N]."""
    return quantized_product(x, codes, scales.float(), group, block)


@ternary_codes_linear.register_fake
@int8_codes_linear.register_fake
def _(x: Tensor, codes: Tensor, scales: Tensor, group: int, block: int) -> Tensor:
    return x.new_empty(x.shape[0], codes.shape[0])


@torch.library.custom_op("chimera::ternary_codes_embedding", mutates_args=())
def ternary_codes_embedding(ids: Tensor, codes: Tensor, scales: Tensor, group: int) -> Tensor:
    """Rows ids (i32 [T]) of trits int8 [V, D] times their scales -> float32 [T, D]. ternary_codes_linear's weight."""
    return dequantize(codes[ids], scales[ids].float(), group)


@torch.library.custom_op("chimera::int8_codes_embedding", mutates_args=())
def int8_codes_embedding(ids: Tensor, codes: Tensor, scales: Tensor, group: int) -> Tensor:
    """Rows ids (i32 [T]) of codes int8 [V, D] times their scales -> float32 [T, D]. int8_codes_linear's weight."""
    return dequantize(codes[ids], scales[ids].float(), group)


@ternary_codes_embedding.register_fake
@int8_codes_embedding.register_fake
def _(ids: Tensor, codes: Tensor, scales: Tensor, group: int) -> Tensor:
    return scales.new_empty(ids.shape[0], codes.shape[1], dtype=torch.float32)


@torch.library.custom_op("chimera::bfloat16_linear", mutates_args=())
def bfloat16_linear(x: Tensor, weight: Tensor) -> Tensor:
    """x [T, K] times the weight [N, K] rounded to bfloat16, in float32 -> [T, N]."""
    return torch.nn.functional.linear(x, weight.bfloat16().float())


bfloat16_linear.register_fake(product)


@torch.library.custom_op("chimera::bfloat16_embedding", mutates_args=())
def bfloat16_embedding(ids: Tensor, weight: Tensor) -> Tensor:
    """Rows ids (i32 [T]) of the weight [V, D], rounded to bfloat16 -> float32 [T, D]."""
    return weight[ids].bfloat16().float()


bfloat16_embedding.register_fake(table_rows)


@torch.library.custom_op("chimera::float16_linear", mutates_args=())
def float16_linear(x: Tensor, weight: Tensor) -> Tensor:
    """x [T, K] times the weight [N, K] rounded to float16, in float32 -> [T, N]."""
    return torch.nn.functional.linear(x, weight.half().float())


float16_linear.register_fake(product)


@torch.library.custom_op("chimera::float16_embedding", mutates_args=())
def float16_embedding(ids: Tensor, weight: Tensor) -> Tensor:
    """Rows ids (i32 [T]) of the weight [V, D], rounded to float16 -> float32 [T, D]."""
    return weight[ids].half().float()


float16_embedding.register_fake(table_rows)


def route_reference(x: Tensor, router: Tensor, bias: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Choose experts by biased scores and weigh them by unbiased ones (arXiv 2408.15664).

    Args:
        x: [T, D] float32; router: [E, D]; bias: [E], which selects and never weighs.

    Returns:
        weights [T, k] and expert numbers int64 [T, k], best biased score first; of equals the lower number first.
    """
    scores = torch.sigmoid(torch.nn.functional.linear(x, router))
    order = torch.sort(scores.detach() + bias, dim=-1, descending=True, stable=True).indices
    chosen = order[:, :top_k]
    weights = scores.gather(1, chosen)
    return weights / (weights.sum(-1, keepdim=True) + 1e-20), chosen


@torch.library.custom_op("chimera::moe", mutates_args=())
def moe(
    x: Tensor,
    router: Tensor,
    bias: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
    down_norm: Tensor,
    top_k: int,
    group: int,
    block: int,
    eps: float,
) -> Tensor:
    """Routed experts only: each a ternary SwiGLU whose hidden vector is normed before ``down``.

    Args:
        x: [T, D], normed. router: [E, D]. bias: [E]. gate, up: [E, Fe, D]. down: [E, D, Fe]. down_norm: [E, Fe].

    Returns:
        [T, D]: the sum over a token's experts, in the order of route_reference, of weight * expert(x).
    """
    weights, chosen = route_reference(x, router, bias, top_k)
    contributions = x.new_zeros(*chosen.shape, x.shape[1])
    for expert in sorted(set(chosen.flatten().tolist())):
        tokens, slots = torch.where(chosen == expert)
        rows = x[tokens]
        left = quantized_product(rows, *weight_codes(gate[expert], group, "ternary"), group, block)
        right = quantized_product(rows, *weight_codes(up[expert], group, "ternary"), group, block)
        hidden = rms_norm_reference(torch.nn.functional.silu(left) * right, down_norm[expert], eps)
        contributions[tokens, slots] = quantized_product(
            hidden, *weight_codes(down[expert], group, "ternary"), group, block
        )
    y = torch.zeros_like(x)
    for slot in range(top_k):
        y = y + weights[:, slot, None] * contributions[:, slot]
    return y


moe.register_fake(like(0))


@torch.library.custom_op("chimera::loop_begin", mutates_args=())
def loop_begin(
    h: Tensor, max_iterations: int, default_iterations: int, exit_threshold: float, min_iterations: int = 1
) -> tuple[Tensor, Tensor]:
    """Marks the start of a looped region that carries h.

    Returns:
        h, and ``write`` (i32 []): 1 in the first iteration, else 0. Eager execution runs one iteration.
    """
    return h.clone(), torch.ones((), dtype=torch.int32, device=h.device)


@loop_begin.register_fake
def _(
    h: Tensor, max_iterations: int, default_iterations: int, exit_threshold: float, min_iterations: int = 1
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(h), torch.empty((), dtype=torch.int32, device=h.device)


@torch.library.custom_op("chimera::loop_end", mutates_args=())
def loop_end(h: Tensor) -> Tensor:
    """Marks the end of a looped region: h goes back to loop_begin or, after the last iteration, on."""
    return h.clone()


loop_end.register_fake(like(0))
