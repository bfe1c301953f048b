"""Floats that are ternary: whether a matrix has but -s, 0 and s in each group, and which groups share s."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

#: Sizes of groups that are looked for, in columns.
GROUPS: Final = (64, 128, 256)


@dataclass(frozen=True)
class Found:
    """The coarsest groups of a ternary matrix.

    Attributes:
        group: columns of a row that share a scale; 0 for all.
        rows: the scales of all rows, float32 [N], where a row has one; None otherwise.
        exact: whether all scales are float16 numbers.
    """

    group: int
    rows: np.ndarray | None
    exact: bool

    @property
    def one(self) -> bool:
        """Whether the whole matrix has one scale; rows of zeros have any."""
        return self.rows is not None and len(np.unique(self.rows[self.rows > 0])) <= 1


def find(parts: Iterable[np.ndarray]) -> Found | None:
    """The groups of a matrix, given in parts float32 [R, K]; None, as soon as that is known, if it is not ternary.

    A matrix of zeros is not: nothing tells what it is.
    """
    wanted = [0, *sorted(GROUPS, reverse=True)]  # what fits a group fits its parts: the first that fits all is it
    rows: list[np.ndarray] = []
    exact, some = True, False
    for part in parts:
        magnitudes = np.abs(part)
        while wanted and not _ternary(magnitudes, wanted[0] or part.shape[1]):
            wanted.pop(0)
        if not wanted:
            return None
        scales = _largest(magnitudes, 64)
        some = some or bool(scales.any())
        with np.errstate(over="ignore"):
            exact = exact and bool((scales.astype(np.float16).astype(np.float32) == scales).all())
        rows.append(scales.max(axis=1))
    if not some:
        return None
    group = wanted[0]
    return Found(group, np.concatenate(rows) if group == 0 else None, exact)


def _runs(magnitudes: np.ndarray, size: int) -> np.ndarray:
    missing = -magnitudes.shape[1] % size
    padded = np.pad(magnitudes, ((0, 0), (0, missing))) if missing else magnitudes
    return padded.reshape(len(padded), -1, size)


def _largest(magnitudes: np.ndarray, size: int) -> np.ndarray:
    largest: np.ndarray = _runs(magnitudes, size).max(axis=2)
    return largest


def _ternary(magnitudes: np.ndarray, size: int) -> bool:
    """Whether each group has one magnitude beside 0; NaN and infinity are none."""
    runs = _runs(magnitudes, size)
    largest = runs.max(axis=2, keepdims=True)
    return bool(np.isfinite(largest).all() and ((runs == 0) | (runs == largest)).all())
