"""Ranges of numbers (bytes, characters) that overlap, as ranges apart."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item", bound=Hashable)


def cut(ranges: Iterable[tuple[int, int, Item]]) -> Iterator[tuple[int, int, tuple[Item, ...]]]:
    """(first, last, items) of ascending ranges, each with the distinct items of all given ranges that cover it.

    Numbers that no range covers are in none.
    """
    begins: dict[int, list[Item]] = {}
    ends: dict[int, list[Item]] = {}
    for first, last, item in ranges:
        begins.setdefault(first, []).append(item)
        ends.setdefault(last + 1, []).append(item)
    points = sorted(begins.keys() | ends.keys())
    active: dict[Item, int] = {}
    for index, point in enumerate(points):
        for item in ends.get(point, ()):
            active[item] -= 1
            if not active[item]:
                del active[item]
        for item in begins.get(point, ()):
            active[item] = active.get(item, 0) + 1
        if active:
            yield point, points[index + 1] - 1, tuple(active)
