"""The rows of a stored matrix in the order in which the module has them, some at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.frontends.sources.tensor import StoredTensor

PACKED = 4  #: trits of a byte of BitNet's packed matrices


class Rows(Protocol):
    """A matrix [N, K]. Parts begin and end at multiples of ``step`` rows."""

    @property
    def step(self) -> int: ...

    def floats(self, start: int, end: int) -> np.ndarray:
        """Rows as float32 [end - start, K]."""

    def integers(self, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows as codes i8 [end - start, K] and float16 scales, one for each block of the encoding."""


@dataclass(frozen=True)
class InOrder:
    """Rows as they are in the file."""

    tensor: StoredTensor
    step: int = 1

    def floats(self, start: int, end: int) -> np.ndarray:
        return self.tensor.floats(start, end)

    def integers(self, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        return self.tensor.integers(start, end)


@dataclass(frozen=True)
class Interleaved:
    """Rows of heads whose halves are interleaved in the file, as llama.cpp's converter has those of Llama: channel j of
    half h of a head of ``step`` channels is in its row 2j + h there, here in row h * step / 2 + j."""

    tensor: StoredTensor
    step: int

    def floats(self, start: int, end: int) -> np.ndarray:
        return self._halves(self.tensor.floats(start, end))

    def integers(self, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        codes, scales = self.tensor.integers(start, end)
        return self._halves(codes), self._halves(scales)

    def _halves(self, rows: np.ndarray) -> np.ndarray:
        pairs = rows.reshape(-1, self.step // 2, 2, *rows.shape[1:])
        return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows.shape)


#: First row and number of rows of each piece of a stored matrix.
Runs = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Gathered:
    """Rows that are in pieces in the file, in the order of ``runs``."""

    tensor: StoredTensor
    runs: Runs
    step: int = 1

    def floats(self, start: int, end: int) -> np.ndarray:
        return np.concatenate([self.tensor.floats(*piece) for piece in self._pieces(start, end)])

    def integers(self, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        pieces = [self.tensor.integers(*piece) for piece in self._pieces(start, end)]
        codes, scales = zip(*pieces, strict=True)
        return np.concatenate(codes), np.concatenate(scales)

    def _pieces(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Where rows start to end are in the file: first and last row of each piece."""
        at = 0
        for first, count in self.runs:
            low, high = max(start, at), min(end, at + count)
            if low < high:
                yield first + low - at, first + high - at
            at += count


@dataclass(frozen=True)
class OfExperts:
    """Matrices of the same size one after the other, each in a tensor of its own, or all in one [E, N', K].

    Attributes:
        step: rows of a matrix.
        first: row of each where it begins, in one tensor.
    """

    tensors: Sequence[StoredTensor]
    step: int
    first: int = 0

    def floats(self, start: int, end: int) -> np.ndarray:
        return np.concatenate([self._own(tensor.floats(*part)) for tensor, part in self._places(start, end)])

    def integers(self, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        found = [tensor.integers(*part) for tensor, part in self._places(start, end)]
        codes, scales = (np.concatenate([self._own(part) for part in parts]) for parts in zip(*found, strict=True))
        return codes, scales

    def _places(self, start: int, end: int) -> Iterator[tuple[StoredTensor, tuple[int, ...]]]:
        """The tensor of each expert, and which part of its first axis."""
        for expert in range(start // self.step, end // self.step):
            if len(self.tensors[0].shape) == 3:
                yield self.tensors[0], (expert, expert + 1)
            else:
                yield self.tensors[expert], ()

    def _own(self, part: np.ndarray) -> np.ndarray:
        return part.reshape(-1, part.shape[-1])[self.first : self.first + self.step]


@dataclass(frozen=True)
class Packed:
    """Trits of BitNet's folders, uint8 [N / 4, K]: row r is in row r mod N/4 there, in the bits 2 (r div N/4) of each
    byte, as trit + 1."""

    tensor: StoredTensor
    step: int = 1

    def floats(self, start: int, end: int) -> np.ndarray:
        return self.integers(start, end)[0].astype(np.float32)

    def integers(self, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """The scales are a one for each row: that of the matrix is in a tensor of its own."""
        quarter, columns = self.tensor.shape
        codes = np.empty((end - start, columns), np.int8)
        at = start
        while at < end:
            plane, first = divmod(at, quarter)
            count = min(end - at, quarter - first)
            fields = self.tensor.raw(first, first + count) >> np.uint8(2 * plane) & np.uint8(3)
            codes[at - start : at - start + count] = fields.view(np.int8) - np.int8(1)
            at += count
        if codes.size and codes.max() > 1:
            message = f"{self.tensor.file}: {self.tensor.name} has the code 3, which is no trit"
            raise UserError("CHM242", message, hint="the file is damaged, or is not of BitNet's packing")
        return codes, np.ones((end - start, 1), np.float16)
