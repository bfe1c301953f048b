"""Which groups of a matrix of floats share a scale, if it is ternary."""

from __future__ import annotations

import numpy as np
import pytest

from chimerac.frontends.matrices.ternary_floats import find

RANDOM = np.random.default_rng(3)


def trits(rows: int, columns: int) -> np.ndarray:
    return RANDOM.integers(-1, 2, (rows, columns)).astype(np.float32)


def ternary(rows: int, columns: int, group: int, dtype: type = np.float16) -> np.ndarray:
    """A ternary matrix whose scales are numbers of a type."""
    scales = RANDOM.uniform(0.01, 0.1, (rows, -(-columns // group))).astype(dtype).astype(np.float32)
    return trits(rows, columns) * np.repeat(scales, group, axis=1)[:, :columns]


@pytest.mark.parametrize("group", [64, 128, 256])
def test_the_coarsest_groups_are_found(group: int) -> None:
    matrix = ternary(8, 512, group)
    found = find([matrix[:3], matrix[3:]])
    assert found is not None
    assert (found.group, found.rows, found.exact) == (group, None, True)


def test_scales_of_rows_and_of_the_whole_are_found() -> None:
    rows = ternary(8, 300, 300, np.float32)
    found = find([rows[:3], rows[3:]])
    assert found is not None
    assert found.rows is not None
    assert (found.group, found.exact, found.one) == (0, False, False)
    assert np.array_equal(found.rows, np.abs(rows).max(axis=1))
    whole = find([trits(4, 64) * 0.25, np.zeros((1, 64), np.float32)])
    assert whole is not None
    assert whole.one
    assert whole.exact


@pytest.mark.parametrize("place", [(0, 0), (7, 511)])
@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_one_other_number_is_enough(place: tuple[int, int], value: float) -> None:
    matrix = ternary(8, 512, 64) + 0.0
    matrix[place] = value
    assert find([matrix]) is None


def test_zeros_are_nothing() -> None:
    assert find([np.zeros((4, 64), np.float32)]) is None
