"""Which form each matrix of a file gets: ternary stays what it is, scale by scale; floats become what is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.quantised import check_codes, check_scales, dequantise
from chimerac.frontends.published.bit_linear import Rule
from chimerac.frontends.published.forms import GROUP, Form, Kind
from chimerac.frontends.published.stored import PACKED, Packed, Rows
from chimerac.frontends.published.ternary_floats import Found, find
from chimerac.frontends.sources.safetensors import FLOATS
from chimerac.frontends.sources.tensor import StoredTensor

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


def matrix(name: str, tensor: StoredTensor, rows: Rows, wanted: Kind) -> Matrix:
    """The form of a tensor of plain numbers or of blocks.

    Args:
        wanted: what floats become that are not ternary.

    Raises:
        UserError: CHM233, its type is not read; CHM242, its scale is not a number.
    """
    place, size = _place(tensor), (tensor.shape[0], tensor.shape[1])
    encoding = tensor.encoding
    if encoding is not None and encoding.codes is not None and encoding.most <= 2:
        return _of_codes(name, place, size, tensor, rows)
    if encoding in FLOATS.values():
        plain = Matrix(name, place, size, Form(wanted), f"{tensor.type_name} as {wanted}", rows.floats, step=rows.step)
        found = find(plain.parts())
        if found is not None:
            return _of_found(plain, found, tensor.type_name)
        return plain
    return Matrix(name, place, size, Form(wanted), f"{tensor.type_name} as {wanted}", rows.floats, step=rows.step)


def _of_codes(name: str, place: str, size: tuple[int, int], tensor: StoredTensor, rows: Rows) -> Matrix:
    encoding, scale = tensor.encoding, tensor.scale
    assert encoding is not None
    form = Form("ternary", encoding.weights, "none" if scale is None else "tensor")

    def codes(start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        found, scales = rows.integers(start, end)
        check_codes(found, "trits", place)
        check_scales(scales, place)
        return found, scales

    told = f"{tensor.type_name} as it is"
    factor = None if scale is None else np.array([scale], np.float32)
    return Matrix(name, place, size, form, told, _floats_of(codes, form.group), codes, factor, rows.step)


def _of_found(plain: Matrix, found: Found, type_name: str) -> Matrix:
    """Floats that are ternary, with the scales that they have."""
    what = f"for {found.group} columns" if found.group else "for all" if found.one else "for each row"
    if found.exact:
        group = found.group or GROUP
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
    form = Form("ternary", GROUP, "tensor" if found.one else "row")
    codes = _signs(plain.floats, GROUP, ones=True)
    return Matrix(plain.name, plain.place, plain.size, form, told, _floats_of(codes, GROUP), codes, factor, plain.step)


def packed(name: str, tensor: StoredTensor, scale: np.float32, rule: Rule) -> Matrix:
    """BitNet's trits of two bits, with one scale for all."""
    rows = Packed(tensor)
    place, size = _place(tensor), (tensor.shape[0] * PACKED, tensor.shape[1])
    factor = np.array([np.float32(1) / scale if rule == "divided" else scale], np.float32)
    form = Form("ternary", GROUP, "tensor")

    def codes(start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        found, _ = rows.integers(start, end)
        return found, np.ones((end - start, -(-size[1] // GROUP)), np.float16)

    return Matrix(name, place, size, form, "BitNet's packed trits as they are", _floats_of(codes, GROUP), codes, factor)


def rounded(name: str, tensor: StoredTensor) -> Matrix:
    """Floats that BitNet rounds at each use: round(w / s) within one of zero, with the mean magnitude s of all."""
    place, size = _place(tensor), (tensor.shape[0], tensor.shape[1])
    masters = Matrix(name, place, size, Form("ternary", GROUP, "tensor"), "", tensor.floats)
    total = sum(float(np.abs(part).sum(dtype=np.float64)) for part in masters.parts())
    scale = np.float32(1) / np.float32(max(total / (size[0] * size[1]), 1e-5))

    def codes(start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        found = np.clip(np.rint(tensor.floats(start, end) * scale), -1, 1).astype(np.int8)
        return found, np.ones((end - start, -(-size[1] // GROUP)), np.float16)

    told = f"{tensor.type_name} rounded to trits by its mean magnitude, as the config says"
    factor = np.array([np.float32(1) / scale], np.float32)
    return Matrix(name, place, size, masters.form, told, _floats_of(codes, GROUP), codes, factor)


def scaled(found: Matrix, scale: np.float32) -> Matrix:
    """A matrix whose numbers are to be multiplied with one more."""
    if scale == 1:
        return found
    factor = np.array([scale], np.float32) if found.factor is None else found.factor * scale
    form = Form(found.form.kind, found.form.group, "tensor" if len(factor) == 1 else "row")
    return Matrix(found.name, found.place, found.size, form, found.told, found.floats, found.codes, factor, found.step)


def _place(tensor: StoredTensor) -> str:
    return f"{tensor.file}: {tensor.name}"


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


def _floats_of(codes: Codes, group: int) -> Callable[[int, int], np.ndarray]:
    def floats(start: int, end: int) -> np.ndarray:
        return dequantise(*codes(start, end), group)

    return floats
