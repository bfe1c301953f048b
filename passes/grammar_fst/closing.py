"""The shortest way to the end from every state, the frames it needs, and states that have none."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from chimerac.passes.grammar_fst.determinise import Segment, State
from chimerac.passes.grammar_fst.nfa import CHECK, COUNT, POP, PUSH

UNREACHABLE = 65535
NO_ROOM = 255


def closing(states: Sequence[State]) -> tuple[list[int], list[int]]:
    """(bytes, frames) to the end of the frame from each state; UNREACHABLE, NO_ROOM where there is no end.

    Bytes ignore what the counter of the state's own machine still needs. Cells that can't lead to an end are dropped
    from the states.
    """
    cost, chosen = _costs(states)
    for state in states:
        state.segments = [s for s in state.segments if _viable(s, states) and _ends(s, cost)]
    return cost, _rooms(states, cost, chosen)


def _parts(segment: Segment) -> tuple[list[int], bool]:
    """Return states pushed by a segment, and whether it ends with a pop."""
    actions = segment[2]
    return [argument for kind, argument in actions if kind == PUSH], actions[-1:] == ((POP, 0),)


def _viable(segment: Segment, states: Sequence[State]) -> bool:
    """Whether the counts that a segment checks can be reached in it: a frame that it opens starts at 0."""
    count = None
    for kind, argument in segment[2]:
        if kind == PUSH:
            count = 0
        elif count is not None and kind == COUNT:
            count += 1
            if count > argument:
                return False
        elif count is not None and kind == CHECK and count < argument:
            return False
    return True


def _ends(segment: Segment, cost: Sequence[int]) -> bool:
    pushed, pops = _parts(segment)
    return all(cost[r] < UNREACHABLE for r in pushed) and (pops or cost[segment[3]] < UNREACHABLE)


def _entered(segment: Segment, states: Sequence[State]) -> int:
    """Bytes that the counters of the frames which a segment opens still need."""
    pushed, pops = _parts(segment)
    if not pushed:
        return 0
    inside = [*pushed[1:], *([] if pops else [segment[3]])]
    total, frame, counts = 0, -1, [0] * len(pushed)
    for kind, _ in segment[2]:
        if kind == PUSH:
            frame += 1
        elif kind == COUNT and frame >= 0:
            counts[frame] += 1
    for index, state in enumerate(inside):
        machine = states[state].machine
        total += machine.unit * max(0, machine.minimum - counts[index])
    return total


def _costs(states: Sequence[State]) -> tuple[list[int], list[Segment | None]]:
    """Knuth's form of Dijkstra's algorithm: a segment counts once all states that it needs are settled."""
    cost = [UNREACHABLE] * len(states)
    chosen: list[Segment | None] = [None] * len(states)
    waiting: dict[int, list[tuple[int, int]]] = {}
    needs: list[int] = []
    sums: list[int] = []
    owners: list[tuple[int, Segment]] = []
    queue: list[tuple[int, int, int]] = []
    for number, state in enumerate(states):
        if state.final:
            heapq.heappush(queue, (0, number, -1))
        seen: set[tuple[object, int]] = set()
        for segment in state.segments:
            key = (segment[2], segment[3])
            if key in seen or not _viable(segment, states):
                continue
            seen.add(key)
            pushed, pops = _parts(segment)
            parts = pushed if pops else [*pushed, segment[3]]
            index = len(needs)
            needs.append(len(parts))
            sums.append(1 + (_entered(segment, states) if pushed else 0))
            owners.append((number, segment))
            for part in parts:
                waiting.setdefault(part, []).append((index, 1))
            if not parts:
                heapq.heappush(queue, (sums[index], number, index))
    settled = [False] * len(states)
    while queue:
        total, number, index = heapq.heappop(queue)
        if settled[number]:
            continue
        settled[number] = True
        cost[number] = total
        chosen[number] = owners[index][1] if index >= 0 else None
        for waiter, times in waiting.get(number, ()):
            needs[waiter] -= times
            sums[waiter] += total
            if not needs[waiter] and sums[waiter] < UNREACHABLE:
                heapq.heappush(queue, (sums[waiter], owners[waiter][0], waiter))
    return cost, chosen


def _rooms(states: Sequence[State], cost: Sequence[int], chosen: Sequence[Segment | None]) -> list[int]:
    """Frames that the chosen ways need, grown until nothing changes; of counted machines the most of all states."""
    room = [0 if c < UNREACHABLE else NO_ROOM for c in cost]
    counted: dict[str, list[int]] = {}
    for number, state in enumerate(states):
        if state.machine.minimum:
            counted.setdefault(state.machine.name, []).append(number)
    order = sorted(
        (n for n in range(len(states)) if chosen[n] is not None and cost[n] < UNREACHABLE), key=cost.__getitem__
    )
    changed = True
    while changed:
        changed = False
        for number in order:
            segment = chosen[number]
            assert segment is not None
            pushed, pops = _parts(segment)
            need = len(pushed) + (0 if pops else room[segment[3]])
            for depth, back in enumerate(pushed):
                need = max(need, depth + room[back])
            if min(need, NO_ROOM) > room[number]:
                room[number] = min(need, NO_ROOM)
                changed = True
        for members in counted.values():
            most = max((room[n] for n in members if cost[n] < UNREACHABLE), default=0)
            for number in members:
                if room[number] < most:
                    room[number] = most
                    changed = True
    return room
