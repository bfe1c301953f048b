"""The counts that states of a machine with a minimum may be reached with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from chimerac.passes.grammar_fst.count_ranges import CountRanges
from chimerac.passes.grammar_fst.counting import END
from chimerac.passes.grammar_fst.nfa import CHECK, COUNT, LIMIT, POP, PUSH
from chimerac.passes.grammar_fst.states import Segment, State


def ranges_of(states: Sequence[State], entered: Iterable[tuple[int, int]]) -> Mapping[int, tuple[int, int]]:
    """The least and the greatest count that each state may be reached with.

    Args:
        entered: the states that frames open with, each with its marks.
    """
    bounds = {a for s in states for x in s.segments for k, a in x[2] if k in (COUNT, LIMIT)}
    ranges = CountRanges(bounds)
    for state, marks in entered:
        ranges.reach(state, marks, marks)
    while ranges.pending:
        number = ranges.pending.pop()
        for segment in states[number].segments:
            goal, low, high = _after(segment, *ranges.found[number])
            if goal != END and low <= high:
                ranges.reach(goal, low, high)
    return ranges.found


def _after(segment: Segment, low: int, high: int) -> tuple[int, int, int]:
    """The state of the same machine after a segment, or END, and the least and the greatest count there."""
    for kind, argument in segment[2]:
        if kind == COUNT:
            low, high = low + 1, min(high + 1, argument)
        elif kind == LIMIT:
            high = min(high, argument)
        elif kind == CHECK:
            low = max(low, argument)
        elif kind == PUSH:
            return argument, low, high
    return (END if segment[2][-1:] == ((POP, 0),) else segment[3]), low, high
