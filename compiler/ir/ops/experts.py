"""Mixture of experts: the op as a model writes it, and the steps of its sort-based dispatch.

Dispatch (docs/passes.md): route → sort (token, slot) pairs by expert → gather rows → one product per expert over its
contiguous rows → combine through the inverse permutation. No atomics: the sum over a token's experts is in slot order.

Symbols: T tokens, k experts per token, E experts, F expert width. Sorted arrays are [T, k, ...]: T·k sorted rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from chimerac.compiler.ir import numerics, numpy_math
from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.definition import (
    Attributes,
    OpDef,
    Packed,
    Shared,
    Types,
    Work,
    attribute_int,
    blocks,
    imported,
    require,
    require_row,
    require_tensor,
    static,
)
from chimerac.compiler.ir.ops.linear import (
    PRODUCT,
    dense,
    matrix_products,
    panels_of,
    product_columns,
    product_rows,
    quantised_product,
    ternarise,
)
from chimerac.compiler.ir.ops.norms import quantise_blocks, rms_normalise
from chimerac.compiler.ir.types import TensorType, i32

Arrays = Sequence[np.ndarray]
F32 = np.float32
N = numpy_math.NUMPY


def route(x: np.ndarray, router: np.ndarray, bias: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Experts i32[T,k] and weights f32[T,k]: the largest ``sigmoid(x Wᵀ) + bias``, ties to the lower expert.

    The bias selects and never weights (arXiv 2408.15664); weights are the chosen sigmoids over (their sum + 1e-20),
    summed in slot order.
    """
    scores = np.asarray(numerics.sigmoid(N, dense(x, router)), F32)
    biased = scores + bias
    chosen = np.argsort(-biased, axis=-1, kind="stable")[:, :top_k].astype(np.int32)
    picked = np.take_along_axis(scores, chosen, axis=-1)
    total = picked[:, 0]
    for slot in range(1, top_k):
        total = total + picked[:, slot]
    return chosen, picked / (total + F32(1e-20))[:, None]


def sort_pairs(experts: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stable counting sort of the pairs t·k+j by expert.

    Returns:
        order i32[T,k], the pair at each sorted place; place i32[T,k], its inverse; offsets i32[E+1].
    """
    flat = experts.reshape(-1)
    order = np.argsort(flat, kind="stable").astype(np.int32)
    place = np.empty_like(order)
    place[order] = np.arange(order.size, dtype=np.int32)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(flat, minlength=count))]).astype(np.int32)
    return order.reshape(experts.shape), place.reshape(experts.shape), offsets


def combine(rows: np.ndarray, place: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``sum_j weights[t,j] * rows[place[t,j]]`` in slot order: f32[T,D]."""
    flat = rows.reshape(-1, rows.shape[-1])
    total: np.ndarray = weights[:, 0, None] * flat[place[:, 0]]
    for slot in range(1, place.shape[1]):
        total = total + weights[:, slot, None] * flat[place[:, slot]]
    return total


def per_expert(offsets: np.ndarray) -> list[tuple[int, slice]]:
    """Experts that have rows, and which these are."""
    bounds = [int(o) for o in offsets]
    return [(e, slice(a, b)) for e, (a, b) in enumerate(pairwise(bounds)) if b > a]


def grouped_product(op: Op, arrays: Arrays) -> tuple[np.ndarray, ...]:
    """The product of integers of each expert's rows."""
    codes, scales, weights, weight_scales, offsets = arrays
    lead = codes.shape[:2]
    codes, scales = codes.reshape(-1, codes.shape[-1]), scales.reshape(-1, scales.shape[-1])
    out = np.zeros((codes.shape[0], op.integer("rows")), F32)
    for e, rows in per_expert(offsets):
        out[rows] = quantised_product(
            codes[rows], scales[rows], weights[e], weight_scales[e], op.integer("group"), op.integer("block")
        )
    return (out.reshape(*lead, -1),)


def _grouped_norm(op: Op, arrays: Arrays) -> tuple[np.ndarray, ...]:
    x, weight, offsets = arrays
    flat = x.reshape(-1, x.shape[-1])
    out = np.zeros_like(flat)
    for e, rows in per_expert(offsets):
        out[rows] = rms_normalise(flat[rows], weight[e], op.number("eps"))
    return (out.reshape(x.shape),)


def _moe(op: Op, arrays: Arrays) -> tuple[np.ndarray, ...]:
    x, router, bias, gate, up, down, down_norm = arrays
    group, block = op.integer("group"), op.integer("block")
    chosen, weights = route(x, router, bias, op.integer("top_k"))
    codes, scales = quantise_blocks(x, block)
    rows = np.zeros((*chosen.shape, x.shape[1]), F32)
    for t, j in np.ndindex(*chosen.shape):
        e = chosen[t, j]

        def product(w: np.ndarray, q: np.ndarray, a: np.ndarray) -> np.ndarray:
            return quantised_product(q, a, *ternarise(w, group), group, block)

        gated = np.asarray(numerics.silu(N, product(gate[e], codes[t], scales[t])), F32)
        inner = rms_normalise(gated * product(up[e], codes[t], scales[t]), down_norm[e], op.number("eps"))
        rows[t, j] = product(down[e], *quantise_blocks(inner, block))
    place = np.arange(chosen.size, dtype=np.int32).reshape(chosen.shape)
    return (combine(rows, place, weights),)


def _infer_moe(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    x, router, bias, gate, up, down, down_norm = operands
    for value, rank, name in ((x, 2, "x"), (router, 2, "router"), (bias, 1, "bias"), (gate, 3, "gate")):
        require_tensor(value, "f32", rank, name)
    require(down.dtype == down_norm.dtype == "f32", f"down {down}, norm {down_norm}")
    experts, width = gate.shape[0], gate.shape[1]
    require(router.shape == (experts, x.shape[1]) and bias.shape == (experts,), f"router {router}, bias {bias}")
    require(gate == up and gate.shape[2] == x.shape[1], f"gate {gate}, up {up} for {x}")
    require(down.shape == (experts, x.shape[1], width) and down_norm.shape == (experts, width), f"down {down}")
    require(
        0 < attribute_int(attributes, "top_k") <= static(experts, "the experts"), "top_k must be within the experts"
    )
    return (x,)


def _infer_route(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    x, router, bias = operands
    for value, rank, name in ((x, 2, "x"), (router, 2, "router"), (bias, 1, "bias")):
        require_tensor(value, "f32", rank, name)
    require(0 < attribute_int(attributes, "top_k") <= static(router.shape[0], "the experts"), f"top_k of {router}")
    require(router.shape[1] == x.shape[1] and bias.shape == router.shape[:1], f"router {router}, bias {bias}")
    shape = (x.shape[0], attribute_int(attributes, "top_k"))
    return i32(*shape), TensorType("f32", shape)


def _infer_sort(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    require_tensor(operands[0], "i32", 2, "experts")
    return operands[0], operands[0], i32(attribute_int(attributes, "experts") + 1)


def _infer_gather(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    x, order = operands
    require(len(x.shape) == 2, f"{x} has no rows")
    require(order.dtype == "i32" and len(order.shape) == 2 and order.shape[0] == x.shape[0], f"order {order} for {x}")
    return (x.with_shape((*order.shape, x.shape[1])),)


def infer_grouped_product(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    """Its type; raises TypeRuleError."""
    codes, scales, weights, weight_scales, offsets = operands
    require_tensor(codes, "i8", 3, "codes")
    require_tensor(offsets, "i32", 1, "offsets")
    rows, columns = attribute_int(attributes, "rows"), attribute_int(attributes, "columns")
    group, block = attribute_int(attributes, "group"), attribute_int(attributes, "block")
    experts = static(offsets.shape[0], "offsets") - 1
    require(group % block == 0, f"group {group} is not a multiple of block {block}")
    require(codes.shape[-1] == columns, f"{codes} has not {columns} columns")
    require(scales.shape == (*codes.shape[:-1], blocks(columns, block)), f"activation scales {scales}")
    if not weights.layout:
        require(weights == TensorType("i8", (experts, rows, columns)), f"weights {weights}")
        require(weight_scales == TensorType("f16", (experts, rows, blocks(columns, group))), f"scales {weight_scales}")
    return (TensorType("f32", (*codes.shape[:-1], rows)),)


def _infer_grouped_norm(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    x, weight, offsets = operands
    require_row(x, "operand")
    require_tensor(offsets, "i32", 1, "offsets")
    experts = static(offsets.shape[0], "offsets") - 1
    require(weight == TensorType("f32", (experts, x.shape[-1])), f"weight {weight} for {x}")
    return (x,)


def _infer_combine(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    rows, place, weights = operands
    for value, dtype, rank, name in ((rows, "f32", 3, "rows"), (place, "i32", 2, "place"), (weights, "f32", 2, "w")):
        require_tensor(value, dtype, rank, name)
    require(rows.shape[:2] == place.shape == weights.shape, f"rows {rows}, place {place}, weights {weights}")
    return (rows.with_shape((rows.shape[0], rows.shape[2])),)


def _gather_reference(op: Op, arrays: Arrays) -> tuple[np.ndarray, ...]:
    x, order = arrays
    return (x[order // order.shape[1]],)


def chosen_products(operands: Types, attributes: Attributes) -> int:
    """Multiply-adds of the experts of a token."""
    rows, columns = attribute_int(attributes, "rows"), attribute_int(attributes, "columns")
    return rows * columns * int(operands[0].shape[1])


OPS = [
    imported(
        "moe",
        "routed experts, each down(rms_norm(silu(gate x) * up x)), weighted by the router (arXiv 2408.15664)",
        ("x", "router", "bias", "gate", "up", "down", "down_norm"),
        _infer_moe,
        _moe,
        {"top_k": int, "group": int, "block": int, "eps": float},
        row_wise=True,
    ),
    OpDef(
        "route",
        "the top_k experts of each token and their weights",
        ("x", "router", "bias"),
        _infer_route,
        lambda op, arrays: route(arrays[0], arrays[1], arrays[2], op.integer("top_k")),
        {"top_k": int},
        work=Work(matrix_products),
    ),
    OpDef(
        "sort_pairs",
        "stable counting sort of (token, slot) pairs by expert: order, its inverse, and where each expert starts",
        ("experts",),
        _infer_sort,
        lambda op, arrays: sort_pairs(arrays[0], op.integer("experts")),
        {"experts": int},
        torch="chimera.sort_pairs.default",
    ),
    OpDef(
        "gather_rows",
        "row order[i]/k of x for each sorted pair",
        ("x", "order"),
        _infer_gather,
        _gather_reference,
        torch="chimera.gather_rows.default",
    ),
    OpDef(
        "grouped_ternary_matmul",
        "ternary_matmul of each expert's rows with that expert's weights",
        ("codes", "scales", "weights", "weight_scales", "offsets"),
        infer_grouped_product,
        grouped_product,
        PRODUCT,
        integer_product=True,
        packed=Packed("weights", "weight_scales"),
        work=Work(chosen_products, Shared(product_rows, product_columns, panels_of(2)), experts="offsets"),
    ),
    OpDef(
        "grouped_rms_norm",
        "rms_norm of each expert's rows with that expert's weight",
        ("x", "weight", "offsets"),
        _infer_grouped_norm,
        _grouped_norm,
        {"eps": float},
        work=Work(experts="offsets"),
    ),
    OpDef(
        "combine_experts",
        "weighted sum of a token's expert rows, in slot order",
        ("rows", "place", "weights"),
        _infer_combine,
        lambda op, arrays: (combine(*arrays),),
        torch="chimera.combine_experts.default",
    ),
]
