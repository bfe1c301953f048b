"""Matrices in their forms, read part by part; floats that are ternary already keep their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.quantised import dequantise
from chimerac.frontends.matrices.forms import Form, row_group
from chimerac.frontends.matrices.ternary_floats import Found, find

PART: Final = 1 << 20  #: about how many numbers of a matrix are in memory at a time

#: Codes i8 [R, K] and float16 scales [R, groups] of some rows.
Codes = Callable[[int, int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Matrix:
    """A matrix [N, K] of a model in its form.

    Attributes:
        name: of its parameter.
        place: the file that it is in and its name there, for messages.
        told: how the file has it and what became of it, in words.
        floats: rows as float32, without the factor.
        codes: rows as they are multiplied, where the file has them as integers or as floats that are some; None where
            floats are rounded later, or not at all.
        factor: float32 [1] or [N], where the form has one.
        step: parts begin and end at multiples of so many rows.
    """

    name: str
    place: str
    size: tuple[int, int]
    form: Form
    told: str
    floats: Callable[[int, int], np.ndarray]
    codes: Codes | None = None
    factor: np.ndarray | None = None
    step: int = 1

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Ranges of rows that are read at a time."""
        rows, columns = self.size
        together = max(1, PART // columns // self.step) * self.step
        return ((start, min(start + together, rows)) for start in range(0, rows, together))

    def parts(self) -> Iterator[np.ndarray]:
        """Its floats, part by part; raises UserError CHM242 if some are NaN or infinite."""
        for start, end in self.ranges():
            part = self.floats(start, end)
            if not np.isfinite(part).all():
                raise UserError(
                    "CHM242", f"{self.place} has numbers that are NaN or infinite, in rows {start} to {end - 1}"
                )
            yield part


def kept(plain: Matrix, type_name: str) -> Matrix:
    """A matrix of floats, as trits with the scales that they have where it is ternary already.

    Args:
        plain: of the form that floats get which are not.
        type_name: of its floats, for what is told.

    Raises:
        UserError: CHM242, as of ``Matrix.parts``.
    """
    found = find(plain.parts())
    return plain if found is None else _of_found(plain, found, type_name)


def _of_found(plain: Matrix, found: Found, type_name: str) -> Matrix:
    """Floats that are ternary, with the scales that they have."""
    what = f"for {found.group} columns" if found.group else "for all" if found.one else "for each row"
    if found.exact:
        group = found.group or row_group(plain.size[1])
        codes = _signs(plain.floats, group)
        told = f"{type_name} that is ternary with scales {what}, as it is"
        return Matrix(
            plain.name, plain.place, plain.size, Form("ternary", group), told, plain.floats, codes, step=plain.step
        )
    if found.rows is None:
        told = f"{plain.told}: ternary with scales {what} that float16 has not"
        return Matrix(plain.name, plain.place, plain.size, plain.form, told, plain.floats, step=plain.step)
    told = f"{type_name} that is ternary with a float32 scale {what}, as it is"
    factor = found.rows.max(keepdims=True) if found.one else found.rows
    group = row_group(plain.size[1])
    form = Form("ternary", group, "tensor" if found.one else "row")
    codes = _signs(plain.floats, group, ones=True)
    return Matrix(plain.name, plain.place, plain.size, form, told, floats_of(codes, group), codes, factor, plain.step)


def scaled(found: Matrix, scale: np.float32) -> Matrix:
    """A matrix whose numbers are to be multiplied with one more."""
    if scale == 1:
        return found
    factor = np.array([scale], np.float32) if found.factor is None else found.factor * scale
    form = Form(found.form.kind, found.form.group, "tensor" if len(factor) == 1 else "row")
    return Matrix(found.name, found.place, found.size, form, found.told, found.floats, found.codes, factor, found.step)


def _signs(floats: Callable[[int, int], np.ndarray], group: int, *, ones: bool = False) -> Codes:
    """Codes of floats that are ternary, with the largest magnitude of each group, or a one, as its scale."""

    def codes(start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        part = floats(start, end)
        groups = -(-part.shape[1] // group)
        if ones:
            return np.sign(part).astype(np.int8), np.ones((len(part), groups), np.float16)
        padded = np.pad(np.abs(part), ((0, 0), (0, groups * group - part.shape[1])))
        return np.sign(part).astype(np.int8), padded.reshape(len(part), groups, group).max(axis=2).astype(np.float16)

    return codes


def floats_of(codes: Codes, group: int) -> Callable[[int, int], np.ndarray]:
    """Rows of codes with scales as float32."""

    def floats(start: int, end: int) -> np.ndarray:
        return dequantise(*codes(start, end), group)

    return floats
