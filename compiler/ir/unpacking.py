"""Packed weights as matrices that are unpacked a few rows at a time, because a large model unpacked fills no memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, overload

import numpy as np

from chimerac.compiler.ir.layouts import panel_rows_of, unpack
from chimerac.compiler.ir.types import TensorType


class Rows(Protocol):
    """What products ask of weights [N, K] and their scales [N, G]: an array is one."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


@dataclass(frozen=True)
class PackedRows:
    """Rows of a packed matrix, or of the matrices of several experts, unpacked as they are asked for.

    Attributes:
        type: of the constant: any layout of panels that follow each other.
        data: its array, which may be a mapped file; only what is asked for is read.
        rows: of one matrix.
        columns: of one matrix.
    """

    type: TensorType
    data: np.ndarray
    rows: int
    columns: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the trits: [..., rows, columns]."""
        return (*self._lead, self.rows, self.columns)

    @property
    def _lead(self) -> tuple[int, ...]:
        inner = 3 if self.type.layout.startswith("panel.") else 1  # one matrix: f16[panels, G, R] or u8[bytes]
        return self.data.shape[: self.data.ndim - inner]

    @overload
    def __getitem__(self, index: int) -> PackedRows: ...

    @overload
    def __getitem__(self, index: slice) -> np.ndarray: ...

    def __getitem__(self, index: int | slice) -> PackedRows | np.ndarray:
        """One expert's matrix, or the rows of a slice of the only one, in plain order."""
        if not isinstance(index, slice):
            return PackedRows(self.type, self.data[index], self.rows, self.columns)
        assert not self._lead, "which expert's rows?"
        start, stop, _ = index.indices(self.rows)
        high = panel_rows_of(self.type.layout)
        first, last = start // high, -(-stop // high)
        panels = self.data.reshape(-(-self.rows // high), -1)[first:last]
        part = panels.reshape(-1) if self.data.ndim == 1 else panels.reshape(last - first, *self.data.shape[1:])
        plain = unpack(self.type, part, min(last * high, self.rows) - first * high, self.columns)
        return plain[start - first * high : stop - first * high]
