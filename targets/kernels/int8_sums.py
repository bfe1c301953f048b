"""Integer sums of products of int8 codes over a block, for 8 rows at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import tirx

from chimerac.compiler.ir.ops.linear import INT8_ROWS
from chimerac.targets.isa import Int8Dot
from chimerac.targets.kernels.tensorir import Expr, KernelBuilder, shuffle

ROWS = INT8_ROWS  #: rows at a time: they fill a vector of results


def block_sums(
    b: KernelBuilder, dot: Int8Dot, block: int, codes: Callable[[int], Expr], rows: Callable[[int, int], Expr]
) -> Expr:
    """The sums of a block, a whole number of steps, as int32x8: one lane a row.

    Args:
        codes: those that the rows share, ``dot.step`` of them from a place in the block on.
        rows: the same of a row: (row, place).
    """
    totals: list[Expr] = []
    for first in range(0, ROWS, dot.rows):
        sums: list[Any] = [None] * dot.rows
        for at in range(0, block, dot.step):
            prepared = each(dot.prepare(b.let(codes(at))), b.let)
            for r, total in enumerate(sums):
                weights = (dot.prepare_weights or dot.prepare)(b.let(rows(first + r, at)))
                sums[r] = each(dot.accumulate(total, prepared, weights), b.let)
        totals += [b.let(dot.finish(total)) for total in sums] if dot.finish else sums
    return across(b, totals, dot.lanes)


def across(b: KernelBuilder, totals: list[Expr], lanes: int) -> Expr:
    """The sum over the lanes of each of 8 vectors, as one vector: a transposition that adds as it goes."""

    def merge(u: Expr, v: Expr, low: list[int], high: list[int]) -> Expr:
        return b.let(tirx.Add(shuffle([u, v], low), shuffle([u, v], high)))

    if lanes == 4:
        halves = [merge(totals[r], totals[r + 1], [0, 2, 4, 6], [1, 3, 5, 7]) for r in range(0, ROWS, 2)]
        low, high = (merge(halves[r], halves[r + 1], [0, 2, 4, 6], [1, 3, 5, 7]) for r in (0, 2))
        return b.let(shuffle([low, high], range(ROWS)))
    pairs = [
        merge(totals[r], totals[r + 1], [0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15])
        for r in range(0, ROWS, 2)
    ]
    fours = [merge(pairs[r], pairs[r + 1], [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]) for r in (0, 2)]
    return merge(fours[0], fours[1], [0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15])


def each(value: Any, function: Callable[[Any], Any]) -> Any:
    """Of a vector or of each of a list of them."""
    return [function(v) for v in value] if isinstance(value, list) else function(value)
