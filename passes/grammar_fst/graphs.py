"""Graphs whose number of steps is bounded: which bounds say nothing, and what a counter alone cannot decide.

A machine with a counter of its steps knows of each state ``need`` and ``most``, the fewest and the most steps to an
end. It goes into a state if ``count + need <= maximum`` and ``count + most >= minimum``. That is right if every
number of steps in between is possible, or enough of them; where it is not, states are copied for each count below
the minimum.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.grammar import Expression, Graph

#: A graph that has at most so many states when it is written out needs no counter.
_FEW_STATES: Final = 32
#: Most states that are made for counts below a minimum.
_MOST_STATES: Final = 20_000


@dataclass(frozen=True)
class Steps:
    """For each state the fewest and the most steps to a final one; ``math.inf`` where there is no such number."""

    need: list[float]
    most: list[float]


def measured(graph: Graph) -> Steps:
    """The steps that every state needs and may take."""
    size = len(graph.steps)
    before: list[list[int]] = [[] for _ in range(size)]
    for state, listed in enumerate(graph.steps):
        for _, target in listed:
            before[target].append(state)
    need: list[float] = [0 if final else math.inf for final in graph.final]
    order = [state for state in range(size) if graph.final[state]]
    for state in order:
        for source in before[state]:
            if need[source] == math.inf:
                need[source] = need[state] + 1
                order.append(source)
    live = [n < math.inf for n in need]
    left = [sum(live[target] for _, target in listed) for listed in graph.steps]
    most: list[float] = [math.inf if alive else -math.inf for alive in live]
    ready = [state for state in range(size) if live[state] and not left[state]]
    for state in ready:  # states from which no circle can be reached
        after = [most[target] for _, target in graph.steps[state] if live[target]]
        most[state] = max([1 + max(after)] if after else [0])
        for source in before[state]:
            left[source] -= 1
            if not left[source] and live[source]:
                ready.append(source)
    return Steps(need, most)


def free(graph: Graph, nodes: int) -> Graph | None:
    """The graph without bounds: where they say nothing, or where at most ``nodes`` nodes hold it written out."""
    steps = measured(graph)
    least = graph.minimum if graph.minimum > steps.need[0] else 0
    most = graph.maximum if graph.maximum is not None and graph.maximum < steps.most[0] else None
    if not least and most is None:
        return replace(graph, minimum=0, maximum=None)
    copies = (least if most is None else most) + 1
    if copies * len(graph.steps) <= max(_FEW_STATES, nodes // 8):
        return _unrolled(graph, steps, least, most)
    return None


def settled(graph: Graph) -> Graph:
    """The graph such that ``need`` and ``most`` decide, its bounds 0 and None where they say nothing.

    Raises UserError CHM282 if too many copies of states would be needed.
    """
    steps = measured(graph)
    least = graph.minimum if graph.minimum > steps.need[0] else 0
    most = graph.maximum if graph.maximum is not None and graph.maximum < steps.most[0] else None
    graph = replace(graph, minimum=least, maximum=most)
    if not least or _dense(graph, steps):
        return graph
    if least * len(graph.steps) > _MOST_STATES:
        message = f"a pattern with at least {least:,} characters needs more than {_MOST_STATES:,} states"
        raise UserError("CHM282", message, hint="let the pattern say how long it is, or ask for fewer characters")
    return replace(_unrolled(graph, steps, least, None), maximum=most)


def _dense(graph: Graph, steps: Steps) -> bool:
    """Whether each state that has some choice of length can be left after any number of steps that the bounds allow.

    That is so if it goes on for ever, and on the way of the fewest steps comes by a place where ``gap`` or fewer can be
    added without leaving those that do.
    """
    gap = math.inf if graph.maximum is None else graph.maximum - graph.minimum + 1
    endless = [n < math.inf and m == math.inf for n, m in zip(steps.need, steps.most, strict=True)]
    before: list[list[int]] = [[] for _ in graph.steps]
    good: list[int] = []
    for state, listed in enumerate(graph.steps):
        if not endless[state]:
            if steps.need[state] < steps.most[state] < math.inf:
                return False
            continue
        more = [steps.need[target] + 1 - steps.need[state] for _, target in listed if endless[target]]
        if any(1 <= extra <= gap for extra in more):
            good.append(state)
        for _, target in listed:
            if endless[target] and steps.need[target] + 1 == steps.need[state]:
                before[target].append(state)
    seen = set(good)
    for state in good:
        for source in before[state]:
            if source not in seen:
                seen.add(source)
                good.append(source)
    return len(seen) == sum(endless)


def _unrolled(graph: Graph, steps: Steps, least: int, most: int | None) -> Graph:
    """A graph without bounds whose states also say how many steps were made, up to ``most``, or else ``least``."""
    top = least if most is None else most
    numbers: dict[tuple[int, int], int] = {(0, 0): 0}
    order = [(0, 0)]
    listed: list[tuple[tuple[Expression, int], ...]] = []
    for state, count in order:
        row: list[tuple[Expression, int]] = []
        for item, target in graph.steps[state]:
            after = (target, min(count + 1, top))
            beyond = most is not None and count + 1 + steps.need[target] > most
            if beyond or count + 1 + steps.most[target] < least:
                continue
            if after not in numbers:
                numbers[after] = len(order)
                order.append(after)
            row.append((item, numbers[after]))
        listed.append(tuple(row))
    return Graph(tuple(listed), tuple(graph.final[state] and count >= least for state, count in order))


def min_length(graph: Graph, length: Callable[[Expression], int]) -> int:
    """At least so many bytes, given those of its items; no fewer than steps."""
    lengths = {id(item): length(item) for listed in graph.steps for item, _ in listed}
    best: dict[int, int] = {}
    queue = [(0, 0)]
    while queue:
        total, state = heapq.heappop(queue)
        if state in best:
            continue
        best[state] = total
        if graph.final[state]:
            return max(total, graph.minimum)
        for item, target in graph.steps[state]:
            heapq.heappush(queue, (total + lengths[id(item)], target))
    return 1 << 40
