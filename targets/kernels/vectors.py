"""Vector code that kernels share: rows cut into vectors, sums of several rows at once, vector times matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import tirx

from chimerac.targets.isa import Isa
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.tensorir import (
    KernelBuilder,
    constant,
    integer,
    lanes_of,
    shuffle,
    splat,
    type_of,
    with_lanes,
)

Expr = Any
Piece = tuple[int, int]  #: (first element, lanes)
#: accumulators a loop keeps in registers; both instruction sets have 16 registers, and temporaries need the rest
ACCUMULATORS = 8
#: longer loops over 8-lane steps stay loops
UNROLLED_STEPS = 16


def float_lanes(isa: Isa) -> int:
    """float32 lanes of a vector register."""
    return isa.vector_bytes // 4


def pieces(extent: int, lanes: int) -> list[Piece]:
    """A row cut into vectors of ``lanes``, then of smaller powers of two: 20 = 8 + 8 + 4."""
    cut: list[Piece] = []
    start = 0
    while start < extent:
        while lanes > extent - start:
            lanes //= 2
        cut.append((start, lanes))
        start += lanes
    return cut


def panels(extent: int, lanes: int) -> list[list[Piece]]:
    """The pieces of a row in groups of as many as there are accumulators."""
    cut = pieces(extent, lanes)
    return [cut[i : i + ACCUMULATORS] for i in range(0, len(cut), ACCUMULATORS)]


def row_sums(
    b: KernelBuilder,
    terms: Callable[[Expr, int], list[Expr]],
    rows: int,
    extent: int,
    steps: Expr | None = None,
) -> Expr:
    """``numpy_math.lanes8_sum`` of 1, 4, 8 or 16 rows at a time: a vector with one lane per row, a scalar for one row.

    Args:
        terms: the elements of each row from a first element on, as vectors of that many lanes; of 16 rows, whose
            elements are whole eights, as 8 vectors of two rows each (``place_of_row``).
        extent: elements of a row.
        steps: ``extent // 8`` as LLVM does not know it, for a loop that stays one; None leaves that to it.
    """
    width = 8 * (rows // min(rows, 8))
    ops = TirOps(b, width)
    cells = [b.cell(constant(0.0, with_lanes("float32", width))) for _ in range(min(rows, 8))]

    def step(start: Expr) -> None:
        for cell, term in zip(cells, terms(start, 8), strict=True):
            cell.set(ops.add(cell.get(), term))

    whole = extent // 8
    if steps is not None or whole > UNROLLED_STEPS:
        with b.loop(whole if steps is None else steps) as i:
            step(i * 8)
    else:
        for i in range(whole):
            step(i * 8)
    if extent % 8:
        cut = pieces(extent % 8, 4)
        parts = list(zip(*(terms(whole * 8 + start, lanes) for start, lanes in cut), strict=True))
        zeros = constant(0.0, with_lanes("float32", 8 - extent % 8))
        for cell, row in zip(cells, parts, strict=True):
            cell.set(ops.add(cell.get(), b.let(shuffle([*row, zeros], range(8)))))
    return lanes8_tree(b, [cell.get() for cell in cells])


def place_of_row(row: Expr) -> tuple[Expr, Expr]:
    """Of one of 16 rows, two to a vector: the vector, and the half of it."""
    eight, four = tirx.truncdiv(row, integer(8)), tirx.truncdiv(row, integer(4))
    return eight * 4 + tirx.truncmod(row, integer(4)), tirx.truncmod(four, integer(2))


def lanes8_tree(b: KernelBuilder, lanes8: list[Expr]) -> Expr:
    """Lanes 0..3 + lanes 4..7, the first two of these + the last two, and one addition, for 1, 4, 8 or 16 rows at once.

    With 8 rows, row i and row i + 4 sit in the two halves of a register, so that no step crosses halves but the first.
    16 rows are 8 vectors of two, as ``place_of_row`` says.
    """

    def add(vectors: list[Expr], first: list[int], second: list[int]) -> Expr:
        return TirOps(b, len(first)).add(b.let(shuffle(vectors, first)), b.let(shuffle(vectors, second)))

    if len(lanes8) == 1:
        four = add(lanes8, [0, 1, 2, 3], [4, 5, 6, 7])
        two = add([four], [0, 1], [2, 3])
        return add([two], [0], [1])
    if len(lanes8) == 4:
        width = 4
        fours = [add([v], [0, 1, 2, 3], [4, 5, 6, 7]) for v in lanes8]
    else:
        width = lanes_of(type_of(lanes8[0]))[1]
        low = [start + lane for start in range(0, 2 * width, 8) for lane in range(4)]
        pairs = [[lanes8[i], lanes8[i + 4]] for i in range(4)]
        fours = [add(pair, low, [lane + 4 for lane in low]) for pair in pairs]

    def pick(*lanes: int) -> list[int]:
        """Of two vectors, in each group of 4 lanes: 0..3 are lanes of the first, 4..7 of the second."""
        return [base + lane % 4 + lane // 4 * width for base in range(0, width, 4) for lane in lanes]

    twos = [add(fours[i : i + 2], pick(0, 1, 4, 5), pick(2, 3, 6, 7)) for i in (0, 2)]
    return add(twos, pick(0, 2, 4, 6), pick(1, 3, 5, 7))


def vector_matrix(
    b: KernelBuilder,
    isa: Isa,
    extents: tuple[int, int],
    vector: Callable[[Expr], Expr],
    matrix: Callable[[Expr, int, int], Expr],
    result: Callable[[int, int, Expr], None],
) -> None:
    """``sum_k vector[k] * matrix[k, :]``, k ascending from +0, columns as lanes.

    Args:
        extents: rows and columns of the matrix.
        vector: its element k.
        matrix: elements of row k: (k, first column, lanes).
        result: takes the sums: (first column, lanes, values).
    """
    rows, columns = extents
    for panel in panels(columns, float_lanes(isa)):
        sums = [b.cell(constant(0.0, with_lanes("float32", lanes))) for _, lanes in panel]
        with b.loop(rows) as k:
            scalar = b.let(vector(k))
            for cell, (start, lanes) in zip(sums, panel, strict=True):
                ops = TirOps(b, lanes)
                cell.set(ops.add(cell.get(), ops.mul(splat(scalar, lanes), b.let(matrix(k, start, lanes)))))
        for cell, (start, lanes) in zip(sums, panel, strict=True):
            result(start, lanes, cell.get())


def clamped(place: Expr, extent: int) -> Expr:
    """An index that stays below ``extent``: what lies beyond repeats the last element."""
    return tirx.Min(place, tirx.IntImm("int32", extent - 1))
