"""What becomes of the integer sums of a product with trits: scales are applied and sums added in the order of
docs/numerics.md, for some columns of activations and some vectors of rows at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

from tvm import tirx

from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.tensorir import Expr, KernelBuilder, constant, splat, with_lanes


class Scales(Protocol):
    """Scales of activations, from a place on."""

    def load(self, index: int | Expr, lanes: int = 1) -> Expr: ...


#: (where the scales of a vector's panels begin, number of the group) → the float32 scale of each row.
WeightScales = Callable[[Sequence[Expr], int], Expr]


class ScaledSums(ABC):
    """Sums of one pass over some rows.

    Args:
        lanes: rows of a vector.
        columns, vectors: of which there are sums.
        blocks: scales of a column of activations.
    """

    def __init__(
        self, b: KernelBuilder, lanes: int, columns: int, vectors: int, blocks: int, weight_scales: WeightScales
    ) -> None:
        self.b, self.lanes, self.blocks, self.weight_scales = b, lanes, blocks, weight_scales
        self.columns, self.vectors = columns, vectors
        self.ops = TirOps(b, lanes)
        zero = self._zero()
        self.cells = [[b.cell(zero) for _ in range(vectors)] for _ in range(columns)]

    def _zero(self) -> Expr:
        return self.ops.f32(0.0)

    @abstractmethod
    def add(self, column: int, row: Sequence[Expr], scales: Scales, index: int) -> None:
        """The integer sums of a piece of a column, for each vector; ``index`` is its number from ``scales`` on."""

    @abstractmethod
    def end_run(self, places: Sequence[Sequence[Expr]], group: int) -> None:
        """The last piece of a run was added, which is group number ``group`` from these scales on."""

    @abstractmethod
    def results(self, scales: Scales, places: Sequence[Sequence[Expr]]) -> list[list[Expr]]:
        """The products of whole rows, from the scales of the first column and of the first group on."""

    def _scale(self, scales: Scales, place: int) -> Expr:
        """A scale of activations in every lane."""
        return self.b.let(splat(scales.load(place), self.lanes))


class SumsOfGroups(ScaledSums):
    """``y = y + s_g * (a_i * acc_i + a_i+1 * acc_i+1 + …)``, one group of weights after the other; a run is a group."""

    def __init__(
        self, b: KernelBuilder, lanes: int, columns: int, vectors: int, blocks: int, weight_scales: WeightScales
    ) -> None:
        super().__init__(b, lanes, columns, vectors, blocks, weight_scales)
        self.partial: list[list[Expr | None]] = self._nothing()

    def _nothing(self) -> list[list[Expr | None]]:
        return [[None] * self.vectors for _ in range(self.columns)]

    def add(self, column: int, row: Sequence[Expr], scales: Scales, index: int) -> None:
        scale = self._scale(scales, column * self.blocks + index)
        for j, total in enumerate(row):
            value = self.ops.mul(scale, self.ops.to_float(total))
            before = self.partial[column][j]
            self.partial[column][j] = value if before is None else self.ops.add(before, value)

    def end_run(self, places: Sequence[Sequence[Expr]], group: int) -> None:
        for j, panels in enumerate(places):
            scale = self.weight_scales(panels, group)
            for cells, partial in zip(self.cells, self.partial, strict=True):
                cells[j].set(self.ops.add(cells[j].get(), self.ops.mul(scale, partial[j])))
        self.partial = self._nothing()

    def results(self, scales: Scales, places: Sequence[Sequence[Expr]]) -> list[list[Expr]]:
        return [[cell.get() for cell in row] for row in self.cells]


class SumOfBlocks(ScaledSums):
    """``y = s * (a_0 * acc_0 + a_1 * acc_1 + …)``: a row of weights has one scale, so its group is all runs."""

    def add(self, column: int, row: Sequence[Expr], scales: Scales, index: int) -> None:
        scale = self._scale(scales, column * self.blocks + index)
        for cell, total in zip(self.cells[column], row, strict=True):
            cell.set(self.ops.add(cell.get(), self.ops.mul(scale, self.ops.to_float(total))))

    def end_run(self, places: Sequence[Sequence[Expr]], group: int) -> None:
        pass

    def results(self, scales: Scales, places: Sequence[Sequence[Expr]]) -> list[list[Expr]]:
        found: list[list[Expr]] = [[] for _ in self.cells]
        for j, panels in enumerate(places):
            scale = self.weight_scales(panels, 0)
            for column, cells in enumerate(self.cells):
                product = self.ops.mul(scale, self._sum(column, cells[j].get(), scales))
                # as every sum over groups begins: -0 becomes 0
                found[column].append(self.ops.add(self.ops.f32(0.0), product))
        return found

    def _sum(self, column: int, total: Expr, scales: Scales) -> Expr:
        return total


class SumOfRow(SumOfBlocks):
    """``y = s * (a * acc)``: the activations have one scale, too, so that all that is added up are integers."""

    def _zero(self) -> Expr:
        return constant(0, with_lanes("int32", self.lanes))

    def add(self, column: int, row: Sequence[Expr], scales: Scales, index: int) -> None:
        for cell, total in zip(self.cells[column], row, strict=True):
            cell.set(tirx.Add(cell.get(), total))

    def _sum(self, column: int, total: Expr, scales: Scales) -> Expr:
        return self.ops.mul(self._scale(scales, column * self.blocks), self.ops.to_float(total))
