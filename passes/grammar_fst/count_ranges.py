"""Ranges of counts that states may have, grown along the transitions until nothing new comes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from chimerac.runtime.bundle_format.fstpack import UNLIMITED

_GROWTH: Final = 8  #: times that a range grows step by step; then it grows to the next bound


class CountRanges:
    """State → its least and greatest count. ``pending`` are the states whose successors are to be looked at again.

    Args:
        bounds: counts that transitions compare with; a range that keeps growing goes to the next of them at once, so
            that a loop of thousands is walked a few times.
    """

    def __init__(self, bounds: Iterable[int]) -> None:
        self.found: dict[int, tuple[int, int]] = {}
        self.pending: list[int] = []
        self._grown: dict[int, int] = {}
        self._stops = sorted({*bounds, UNLIMITED})

    def reach(self, state: int, low: int, high: int) -> None:
        """Note that a state may be reached with the counts from ``low`` to ``high``."""
        before = self.found.get(state)
        after = (low, high) if before is None else (min(low, before[0]), max(high, before[1]))
        if after == before:
            return
        self._grown[state] = self._grown.get(state, 0) + 1
        if self._grown[state] >= _GROWTH:
            after = after[0], self._stops[bisect_left(self._stops, after[1])]
        self.found[state] = after
        self.pending.append(state)
