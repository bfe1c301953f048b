"""A tensor of a file: what it is called, how it is stored, and its numbers, part by part along its first axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.frontends.encodings.encoding import Encoding
from chimerac.frontends.sources.mapped import mapped_part


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies.

    Attributes:
        name: in the file.
        shape: rows before columns.
        type_name: of its numbers, as its makers call it.
        encoding: how its bytes become numbers; None for types that are named and not read.
        file: that it is in.
        offset: of its first byte in the file.
        size: bytes of its rows, without what may follow them.
        scale_offset: of a float32 number that scales all others; None where there is none.
    """

    name: str
    shape: tuple[int, ...]
    type_name: str
    encoding: Encoding | None
    file: Path
    offset: int
    size: int
    scale_offset: int | None = None

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def scale(self) -> np.float32 | None:
        """The scale of the whole tensor, if it has one.

        Raises:
            UserError CHM242: it is not a number that scales.
        """
        if self.scale_offset is None:
            return None
        value: np.float32 = mapped_part(self.file, self.scale_offset, 4).view("<f4")[0]
        if not np.isfinite(value):
            raise UserError("CHM242", f"{self.file}: the scale of {self.name} is NaN or infinite")
        return value

    def floats(self, start: int = 0, end: int | None = None) -> np.ndarray:
        """Part of the tensor as float32 [end - start, ...]; a vector's part is part of its numbers.

        Raises:
            UserError: CHM230, the file can't be read any more; CHM233, its type is not read.
        """
        encoding = self._read()
        if len(self.shape) < 2:
            whole = encoding.decode(mapped_part(self.file, self.offset, self.size)[None]).reshape(self.shape)
            part = whole[start:end] if self.shape else whole
        else:
            data, lead = self._rows(start, end)
            part = encoding.decode(data).reshape(*lead, self.shape[-1])
        scale = self.scale
        if scale is not None:
            with np.errstate(over="ignore"):
                part *= scale
        return part

    def integers(self, start: int = 0, end: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Part of a matrix as codes i8 [end - start, ..., K] and scales f16 [end - start, ..., blocks of a row].

        Where the whole tensor has a scale, it is not in them.

        Raises:
            UserError: as of ``floats``.
        """
        data, lead = self._rows(start, end)
        codes, scales = self._read().integers(data)
        return codes.reshape(*lead, -1), scales.reshape(*lead, -1)

    def raw(self, start: int = 0, end: int | None = None) -> np.ndarray:
        """Part of a matrix as its bytes, u8 [rows, bytes of a row]; errors as of ``floats``, but for the type."""
        return self._rows(start, end)[0]

    def _read(self) -> Encoding:
        if self.encoding is None:
            message = f"{self.file}: {self.name} is of type {self.type_name}, which chimerac does not read"
            raise UserError("CHM233", message, hint="docs/sources.md lists the types that are read; convert it to one")
        return self.encoding

    def _rows(self, start: int, end: int | None) -> tuple[np.ndarray, tuple[int, ...]]:
        """Rows u8 [R, bytes] of a part, and what R is made of."""
        start, end, _ = slice(start, end).indices(self.shape[0])
        lead = (max(0, end - start), *self.shape[1:-1])
        step = self.size // self.shape[0] if self.shape[0] else 0
        part = mapped_part(self.file, self.offset + start * step, lead[0] * step)
        rows = math.prod(lead)
        return part.reshape(rows, part.size // rows if rows else 0), lead
