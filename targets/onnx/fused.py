"""The other form: one operator where ONNX or ONNX Runtime has one, in place of the sequence that gives our bits.

Results differ in the last bits of float32, and so, now and then, in one int8 code of an activation; docs/onnx.md says
what that amounts to. Activations stay float32, because MatMulNBits quantises them itself, by blocks as we do.

``LinearAttention`` and ``CausalConvWithState`` are standard operators from version 27 on, which ONNX Runtime 1.31 does
not load; it has both as its own, with the same meaning, and these are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Op
from chimerac.targets.onnx import experts as exact
from chimerac.targets.onnx.context import Context, Translate, last, plain, shape_of
from chimerac.targets.onnx.graph import MICROSOFT
from chimerac.targets.onnx.recurrent import for_each_head
from chimerac.targets.onnx.weights import pack_matrix

#: In place of the scales that ``quantize`` would give: nobody reads them.
NO_SCALES = "no scales"


def build_rms_norm(context: Context, op: Op) -> tuple[str, ...]:
    """RMSNormalization."""
    x, weight = (context.value(v) for v in op.operands)
    return (context.nodes.op("RMSNormalization", x, weight, axis=-1, epsilon=op.number("eps")),)


def build_rms_norm_quantize(context: Context, op: Op) -> tuple[str, ...]:
    """The norm alone."""
    _check_rule(op)
    return build_rms_norm(context, op)[0], NO_SCALES


def build_quantize(context: Context, op: Op) -> tuple[str, ...]:
    """Nothing."""
    _check_rule(op)
    return context.value(op.operands[0]), NO_SCALES


def build_linear(context: Context, op: Op) -> tuple[str, ...]:
    """MatMul with the transposed weight."""
    x, weight, *bias = op.operands
    name = context.constant_name(weight)
    held = context.module.constants[name]
    numbers = held.data if held.type.dtype == "f16" else plain(held)
    transposed = context.weight(name, "transposed", lambda: [np.ascontiguousarray(numbers.T)])[0]
    if held.type.dtype == "f16":
        narrow = transposed
        (transposed,) = context.nodes.cached(("widened", narrow), lambda: (context.nodes.to_float(narrow),))
    y = context.nodes.op("MatMul", context.value(x), transposed)
    return (context.nodes.op("Add", y, context.value(bias[0])) if bias else y,)


def build_product(context: Context, op: Op, bits: int) -> tuple[str, ...]:
    """One MatMulNBits for the whole matrix, whose blocks are those of the activations."""
    _check_block(op)
    weights, scales = op.operands[2:4]
    rows, columns, block = op.integer("rows"), op.integer("columns"), op.integer("block")
    name, scale_name = context.constant_name(weights), context.constant_name(scales)
    packed = context.weight(
        name, f"b{bits}.k{block}", lambda: [pack_matrix(context.array(weights, rows, columns), block, bits)]
    )[0]
    factors = context.weight(scale_name, f"k{block}", lambda: [_block_scales(context, op, None)])[0]
    return (_matmul(context, op, context.value(op.operands[0]), packed, factors, bits),)


def _block_scales(context: Context, op: Op, expert: int | None) -> np.ndarray:
    """The scale of each block, f32[N * blocks]: that of its group."""
    rows, columns, block = op.integer("rows"), op.integer("columns"), op.integer("block")
    scales = context.array(op.operands[3], rows, columns)
    scales = scales if expert is None else scales[expert]
    group_of = np.arange(0, columns, block) // op.integer("group")
    return np.ascontiguousarray(scales[:, group_of], np.float32).reshape(-1)


def _matmul(context: Context, op: Op, x: str, packed: str, scales: str, bits: int) -> str:
    return context.nodes.op(
        "MatMulNBits",
        x,
        packed,
        scales,
        domain=MICROSOFT,
        K=op.integer("columns"),
        N=op.integer("rows"),
        bits=bits,
        block_size=op.integer("block"),
        accuracy_level=4,
    )


def _check_rule(op: Op) -> None:
    if op.attributes.get("row"):
        message = "MatMulNBits rounds activations block by block, not with one scale for all of a token's"
        raise UserError("CHM301", message, hint="take the target onnx, which multiplies what was rounded")


def _check_block(op: Op) -> None:
    block = op.integer("block")
    if block < 16 or block & (block - 1):
        message = f"MatMulNBits takes blocks of 16, 32, 64, … activations, not {block}"
        raise UserError("CHM301", message, hint="take the target onnx, which has no such limit")


def build_causal_conv(context: Context, op: Op) -> tuple[str, ...]:
    """CausalConvWithState over [1, channels, T]."""
    x, weight, tail = op.operands
    nodes, name = context.nodes, context.constant_name(weight)
    taps = context.weight(name, "taps", lambda: [context.module.constants[name].data[:, None, :]])[0]
    inputs = [nodes.unsqueeze(nodes.transpose(context.value(v), 1, 0), 0) for v in (x, tail)]
    y, after = nodes.emit("CausalConvWithState", inputs[0], taps, "", inputs[1], outputs=2, domain=MICROSOFT)
    results = [nodes.transpose(nodes.op("Squeeze", v, nodes.i64([0])), 1, 0) for v in (y, after)]
    return results[0], results[1]


def build_linear_attention(context: Context, op: Op, rule: str) -> tuple[str, ...]:
    """LinearAttention by a rule: gated, or the gated delta rule."""
    q, k, v, *gates, state = (context.value(o) for o in op.operands)
    nodes = context.nodes
    heads = int(op.operands[-1].type.shape[0])
    q, k = (for_each_head(nodes, x, int(op.operands[1].type.shape[1]), heads) for x in (q, k))
    flat = [nodes.reshape(x, 1, -1, heads * last(o)) for x, o in zip((q, k, v), op.operands, strict=False)]
    output, after = nodes.emit(
        "LinearAttention",
        *flat,
        nodes.unsqueeze(state, 0),
        *(nodes.unsqueeze(gate, 0) for gate in gates),
        outputs=2,
        domain=MICROSOFT,
        update_rule=rule,
        q_num_heads=heads,
        kv_num_heads=heads,
        scale=op.number("scale"),
    )
    return nodes.reshape(output, *shape_of(op.results[0])), nodes.op("Squeeze", after, nodes.i64([0]))


def build_gather_rows(context: Context, op: Op) -> tuple[str, ...]:
    """As the exact form does, but there are no scales to gather."""
    return (NO_SCALES,) if context.value(op.operands[0]) == NO_SCALES else exact.build_gather_rows(context, op)


def build_grouped_product(context: Context, op: Op, bits: int) -> tuple[str, ...]:
    """One MatMulNBits per expert over its contiguous rows, possibly none."""
    _check_block(op)
    nodes, weights = context.nodes, op.operands[2]
    rows, columns, block = op.integer("rows"), op.integer("columns"), op.integer("block")
    slots, experts = int(op.operands[0].type.shape[1]), int(op.operands[4].type.shape[0]) - 1
    packed = context.weight(
        context.constant_name(weights),
        f"b{bits}.k{block}",
        lambda: [pack_matrix(context.array(weights, rows, columns)[e], block, bits) for e in range(experts)],
    )
    factors = context.weight(
        context.constant_name(op.operands[3]),
        f"k{block}",
        lambda: [_block_scales(context, op, e) for e in range(experts)],
    )
    flat = nodes.reshape(context.value(op.operands[0]), -1, columns)
    parts: tuple[str, ...] = (flat,)
    if experts > 1:
        counts = exact.counts_of_experts(nodes, context.value(op.operands[4]), experts)
        parts = nodes.emit("Split", flat, counts, outputs=experts, axis=0)
    made = [_matmul(context, op, x, w, s, bits) for x, w, s in zip(parts, packed, factors, strict=True)]
    joined = nodes.op("Concat", *made, axis=0) if experts > 1 else made[0]
    return (nodes.reshape(joined, -1, slots, rows),)


#: Op → translator, in place of the exact one.
TRANSLATORS: Mapping[str, Translate] = {
    "rms_norm": build_rms_norm,
    "rms_norm_quantize": build_rms_norm_quantize,
    "quantize": build_quantize,
    "linear": build_linear,
    "ternary_matmul": partial(build_product, bits=2),
    "int8_matmul": partial(build_product, bits=8),
    "causal_conv": build_causal_conv,
    "gated_delta": partial(build_linear_attention, rule="gated_delta"),
    "gated_linear_attention": partial(build_linear_attention, rule="gated"),
    "gather_rows": build_gather_rows,
    "grouped_ternary_matmul": partial(build_grouped_product, bits=2),
    "grouped_int8_matmul": partial(build_grouped_product, bits=8),
}
