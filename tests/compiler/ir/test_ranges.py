"""Ranges cut apart: as looking at every number says."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from chimerac.compiler.ir.ranges import cut

MOST = 12
RANGES = st.lists(
    st.tuples(st.integers(0, MOST), st.integers(0, MOST), st.sampled_from("abc")).map(
        lambda given: (min(given[:2]), max(given[:2]), given[2])
    ),
    max_size=6,
)


@given(RANGES)
def test_every_number_has_the_items_of_the_ranges_over_it(ranges: list[tuple[int, int, str]]) -> None:
    pieces = list(cut(ranges))
    assert all(first <= last for first, last, _ in pieces)
    assert all(before[1] < after[0] for before, after in pairwise(pieces))
    for number in range(MOST + 1):
        over = {item for first, last, item in ranges if first <= number <= last}
        found = [items for first, last, items in pieces if first <= number <= last]
        assert [set(items) for items in found] == ([over] if over else [])
        assert all(len(items) == len(set(items)) for items in found)
