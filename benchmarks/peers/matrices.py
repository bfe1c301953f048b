"""The matrix and the activations that all systems multiply, so that they can be checked against each other."""

from __future__ import annotations

import numpy as np

TILE_ROWS = 512  #: different rows; larger matrices repeat them
SCALE = np.float32(np.float16(0.01))
TOLERANCE = 0.03  #: of the largest output; activations become 8 bits in blocks that differ between systems


def trits(columns: int) -> np.ndarray:
    """The different rows: i8[TILE_ROWS, columns], uniform in -1, 0, 1; each times SCALE is a weight."""
    return np.random.default_rng(1).integers(-1, 2, (TILE_ROWS, columns)).astype(np.int8)


def activations(columns: int) -> np.ndarray:
    """f32[columns], normally distributed."""
    return np.random.default_rng(2).standard_normal(columns).astype(np.float32)


def check(name: str, outputs: np.ndarray, columns: int, roll: int = 0) -> None:
    """Compare ``outputs`` f32[rows] with the product, for a matrix whose tile was rolled by ``roll`` rows.

    Raises:
        RuntimeError: they differ by more than 8-bit activations explain: the system does not compute what is measured.
    """
    expected = np.roll(trits(columns), roll, axis=0).astype(np.float32) @ activations(columns) * SCALE
    expected = np.resize(expected, len(outputs))
    error = float(np.abs(outputs - expected).max() / np.abs(expected).max())
    if not error < TOLERANCE:
        raise RuntimeError(f"{name}: outputs are off by {error:.3f} of the largest")


def copies_of(bytes_per_matrix: int, memory: int) -> int:
    """How many matrices it takes to fill ``memory`` bytes; at least two."""
    return max(2, -(-memory // bytes_per_matrix))
