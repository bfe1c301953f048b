"""Products of int8 activations with small-integer weights, by MatMulNBits.

The product must add ``s_g * (a_2g * acc_2g + a_2g+1 * acc_2g+1)`` group after group, where ``acc_b`` is the exact
integer sum of block b. So each block is a MatMulNBits of its own with scale 1, whose result is that integer; scales and
sums follow as separate operators.

MatMulNBits (accuracy_level 4) quantises its input to int8 by absmax / 127 too. The largest code of a block is nearly
always 127, so this would change nothing, but not in a block whose activations are all below the floor of our quantiser.
Therefore the first code of every block is replaced by 127, and what this adds is subtracted: ``(127 - q_0) * w_0``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from chimerac.compiler.ir.module import Op, Value
from chimerac.compiler.ir.ops.definition import blocks
from chimerac.targets.onnx.context import Context, Translate, one_result, shape_of
from chimerac.targets.onnx.graph import MICROSOFT, Nodes
from chimerac.targets.onnx.weights import matmul_block, pack_blocks

MOST_COLUMNS = 256  #: of a block of MatMulNBits
PIECE = 64  #: columns that a larger block is cut into


def build_ternary_matmul(context: Context, op: Op) -> tuple[str, ...]:
    """Weights of 2 bits."""
    piece = _piece(op.integer("block"))
    parts = ternary_blocks(context, op.operands[2], op.integer("rows"), op.integer("columns"), piece)
    return (_product(context, op, parts, 2, piece),)


def build_int8_matmul(context: Context, op: Op) -> tuple[str, ...]:
    """Weights of 8 bits."""
    block = op.integer("block")
    parts = int8_blocks(context, op.operands[2], op.integer("rows"), op.integer("columns"), block)
    return (_product(context, op, parts, 8, block),)


def _piece(block: int) -> int:
    """Columns of a MatMulNBits: those of a block, or of a part of one that is larger than its blocks may be."""
    return block if block <= MOST_COLUMNS else PIECE


def ternary_blocks(context: Context, table: Value, rows: int, columns: int, block: int = 64) -> list[str]:
    """A table of trits in blocks of columns, u8[rows, 1, bytes] each, as codes + 2."""
    return context.weight(
        context.constant_name(table), f"t2.b{block}", lambda: pack_blocks(context.array(table, rows, columns), block, 2)
    )


def int8_blocks(context: Context, table: Value, rows: int, columns: int, block: int = 64) -> list[str]:
    """An int8 table in blocks of columns, u8[rows, 1, bytes] each, as codes + 128."""
    return context.weight(
        context.constant_name(table), f"i8.b{block}", lambda: pack_blocks(context.array(table, rows, columns), block, 8)
    )


def _group_scales(context: Context, op: Op, scales: Value) -> str:
    """Weight scales f32[G, 1, N]."""
    rows, columns = op.integer("rows"), op.integer("columns")
    return context.weight(
        context.constant_name(scales),
        "groups",
        lambda: [np.ascontiguousarray(context.array(scales, rows, columns).T[:, None, :], np.float32)],
    )[0]


def _product(context: Context, op: Op, parts: list[str], bits: int, size: int) -> str:
    """``parts`` are of ``size`` columns each."""
    codes, scales, weights, weight_scales = op.operands
    nodes, block, rows, columns = context.nodes, op.integer("block"), op.integer("rows"), op.integer("columns")
    pieces, excess = code_blocks(nodes, context.value(codes), columns, size)
    sums = [
        matmul(context, piece, part, width, rows, bits, size)
        for piece, part, width in zip(pieces, parts, widths(columns, size), strict=True)
    ]
    stacked = nodes.op("Concat", *sums, axis=0) if len(sums) > 1 else sums[0]  # [blocks, R, N]
    first = context.weight(
        context.constant_name(weights),
        f"first.b{size}",
        lambda: [np.ascontiguousarray(context.array(weights, rows, columns)[:, ::size].T[:, None, :])],
    )[0]
    stacked = nodes.op("Sub", stacked, nodes.op("Mul", excess, nodes.to_float(first)))
    if size < block:  # one block, a whole row, whose sum is exact in any order
        stacked = nodes.op("ReduceSum", stacked, nodes.i64([0]), keepdims=1)
    factors = block_scales(nodes, context.value(scales), blocks(columns, block))
    result = scaled_sum(nodes, op, stacked, factors, _group_scales(context, op, weight_scales))
    like = shape_of(one_result(op))
    return result if len(like) == 2 else nodes.reshape(result, *like)


def code_blocks(nodes: Nodes, codes: str, columns: int, block: int) -> tuple[tuple[str, ...], str]:
    """Codes [..., K] as blocks [1, R, block], the last maybe shorter, with 127 as their first codes.

    Returns:
        the blocks, and by how much their first codes are too large, f32[blocks, R, 1].
    """

    def make() -> tuple[str, ...]:
        flat = nodes.reshape(codes, 1, -1, columns)
        parts = widths(columns, block)
        first = nodes.op("Gather", flat, nodes.i64(range(0, columns, block)), axis=2)
        excess = nodes.transpose(nodes.op("Sub", nodes.f32(127.0), first), 2, 1, 0)
        is_first = nodes.pool.constant(np.arange(columns) % block == 0, "first")
        full = nodes.op("Where", is_first, nodes.f32(127.0), flat)
        if len(parts) == 1:
            return excess, full
        return excess, *nodes.emit("Split", full, nodes.i64(parts), hint="block", outputs=len(parts), axis=2)

    excess, *pieces = nodes.cached(("blocks", codes, block), make)
    return tuple(pieces), excess


def block_scales(nodes: Nodes, scales: str, count: int) -> str:
    """Activation scales [..., blocks] as [blocks, R, 1]."""

    def make() -> tuple[str, ...]:
        flat = nodes.reshape(scales, -1, count, 1)
        return (nodes.transpose(flat, 1, 0, 2),)

    return nodes.cached(("block scales", scales), make)[0]


def matmul(context: Context, codes: str, weight: str, columns: int, rows: int, bits: int, block: int) -> str:
    """Exact integer sums [1, R, N] of one block."""
    nodes = context.nodes
    return nodes.op(
        "MatMulNBits",
        codes,
        weight,
        nodes.f32(np.ones(rows)),
        hint="sums",
        domain=MICROSOFT,
        K=columns,
        N=rows,
        bits=bits,
        block_size=matmul_block(block),
        accuracy_level=4,
    )


def scaled_sum(nodes: Nodes, op: Op, sums: str, scales: str, group_scales: str) -> str:
    """``sum over g of s_g * (sum over the group's blocks of a_b * acc_b)``, in ascending order: f32[R, N].

    Args:
        sums: f32[blocks, R, N].
        scales: f32[blocks, R, 1].
        group_scales: f32[G, 1 or R, N].
    """
    block, group, columns, rows = (op.integer(name) for name in ("block", "group", "columns", "rows"))
    per_group = group // block
    count, groups = blocks(columns, block), blocks(columns, group)
    terms = nodes.op("Mul", sums, scales)
    if per_group > 1:
        if count < groups * per_group:
            terms = nodes.op("Pad", terms, nodes.i64([0, 0, 0, groups * per_group - count, 0, 0]))
        terms = nodes.reshape(terms, groups, per_group, -1, rows)
        if per_group == 2:  # of two terms there is one order
            terms = nodes.op("ReduceSum", terms, nodes.i64([1]), keepdims=0)
        else:
            terms = nodes.sum_first(nodes.transpose(terms, 1, 0, 2, 3))
    return nodes.sum_first(nodes.op("Mul", terms, group_scales))


def widths(columns: int, block: int) -> list[int]:
    """Columns of each block."""
    return [min(block, columns - start) for start in range(0, columns, block)]


TRANSLATORS: Mapping[str, Translate] = {"ternary_matmul": build_ternary_matmul, "int8_matmul": build_int8_matmul}
