"""Machines that count marks: how many each state still needs, and the actions that keep a way to the end open."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chimerac.passes.grammar_fst.components import components
from chimerac.passes.grammar_fst.nfa import CHECK, COUNT, LIMIT, MARK, POP, PUSH, UNLIMITED, Action, Machine
from chimerac.passes.grammar_fst.states import Segment, State

ENDLESS: Final = 1 << 30
END: Final = -1  #: in place of a state: the end of the frame


@dataclass(frozen=True)
class Way:
    """A segment seen from its own machine.

    Args:
        goal: the state of the same machine after it, or END.
        inner: states of frames that it opens, outermost first, and the marks of those frames so far. Before the last of
            them the frame waits for what it opened itself.
    """

    goal: int
    mark: bool
    inner: tuple[tuple[int, int], ...]


def way_of(segment: Segment) -> Way:
    """What a segment does, before or after ``bound``."""
    _, _, actions, target = segment
    goals: list[int] = []
    marks = [0]
    for kind, argument in actions:
        if kind == COUNT:
            marks[-1] += 1
        elif kind == PUSH:
            goals.append(argument)
            marks.append(0)
    goals.append(END if actions[-1:] == ((POP, 0),) else target)
    return Way(goals[0], marks[0] > 0, tuple(zip(goals[1:], marks[1:], strict=True)))


@dataclass(frozen=True)
class Counts:
    """For each state the fewest and the most marks to the end of its frame; 0 and ENDLESS where none are counted."""

    need: list[int]
    most: list[int]

    def possible(self, machine: Machine, goal: int, count: int) -> bool:
        """Whether a frame of a machine can end from a state, or is at its END, with so many marks."""
        need, most = (0, 0) if goal == END else (self.need[goal], self.most[goal])
        return count + need <= machine.maximum and count + most >= machine.minimum


def bound(states: Sequence[State]) -> Counts:
    """Drop the segments after which a frame can't end, and guard those after which it depends on the count."""
    counts = Counts([0] * len(states), [ENDLESS] * len(states))
    counting: dict[str, list[int]] = {}
    for number, state in enumerate(states):
        if state.machine.counts:
            counting.setdefault(state.machine.name, []).append(number)
    if not counting:
        return counts
    while True:
        _drop_dead(states)
        for members in counting.values():
            _measure(states, members, counts)
        dropped = False
        for state in states:
            kept = [s for s in state.segments if _possible(states, state, s, counts)]
            dropped |= len(kept) < len(state.segments)
            state.segments = kept
        if not dropped:
            break
    for members in counting.values():
        for number in members:
            state = states[number]
            state.check = state.machine.minimum if counts.most[number] > 0 else 0
    for number, state in enumerate(states):
        state.segments = [_guarded(states, number, segment, counts) for segment in state.segments]
    return counts


def _possible(states: Sequence[State], state: State, segment: Segment, counts: Counts) -> bool:
    if not segment[2]:
        return not state.machine.counts or counts.need[segment[3]] <= state.machine.maximum
    way = way_of(segment)
    if state.machine.counts and (way.mark + (0 if way.goal == END else counts.need[way.goal]) > state.machine.maximum):
        return False
    return all(counts.possible(states[inner].machine, inner, marks) for inner, marks in way.inner)


def _drop_dead(states: Sequence[State]) -> None:
    """Drop the segments that lead to a state from which its frame can't end, whatever is counted."""
    waiting: dict[int, list[int]] = {}
    owners: list[int] = []
    missing: list[int] = []
    alive = [state.final for state in states]
    queue = [number for number, final in enumerate(alive) if final]
    for number, state in enumerate(states):
        shared = () if state.shared is None else state.shared.targets
        own = map(_goals, {(s[2], s[3]): s for s in state.segments}.values())
        for needed in (*own, *({target} for target in shared)):
            if not needed and not alive[number]:
                alive[number] = True
                queue.append(number)
            for goal in needed:
                waiting.setdefault(goal, []).append(len(owners))
            owners.append(number)
            missing.append(len(needed))
    for number in queue:
        for waiter in waiting.get(number, ()):
            missing[waiter] -= 1
            if not missing[waiter] and not alive[owners[waiter]]:
                alive[owners[waiter]] = True
                queue.append(owners[waiter])
    if all(alive):
        return

    for state in states:
        state.segments = [segment for segment in state.all_segments() if all(alive[goal] for goal in _goals(segment))]
        state.shared = None


def _goals(segment: Segment) -> set[int]:
    """The states from which an end must be in reach for a segment to lead to one."""
    if not segment[2]:
        return {segment[3]}
    way = way_of(segment)
    return {goal for goal in (way.goal, *(inner for inner, _ in way.inner)) if goal != END}


def _measure(states: Sequence[State], members: Sequence[int], counts: Counts) -> None:
    """The fewest and the most marks from each state of a machine."""
    ways = {number: set(map(_step, states[number].segments)) for number in members}
    before: dict[int, list[tuple[int, bool]]] = {}
    for number, found in ways.items():
        for goal, mark in found:
            before.setdefault(goal, []).append((number, mark))
    need = dict.fromkeys(members, ENDLESS)
    queue: deque[tuple[int, int]] = deque()
    queue.append((END, 0))
    queue.extend((number, 0) for number in members if states[number].final)
    while queue:
        number, marks = queue.popleft()
        if number != END:
            if marks >= need[number]:
                continue
            need[number] = marks
        for source, mark in before.get(number, ()):
            (queue.append if mark else queue.appendleft)((source, marks + mark))
    most = dict.fromkeys(members, 0)
    graph = {number: [goal for goal, _ in found if goal != END] for number, found in ways.items()}
    for group in components(graph):  # each after those that it leads to
        together = [way for number in group for way in ways[number]]
        longest = max((mark + (0 if goal == END else most[goal]) for goal, mark in together), default=0)
        if any(goal in group and mark for goal, mark in together):
            longest = ENDLESS
        for number in group:
            most[number] = min(longest, ENDLESS)
    for number in members:
        counts.need[number], counts.most[number] = need[number], most[number]


def _step(segment: Segment) -> tuple[int, bool]:
    """The state of the same machine after a segment, or END, and whether it makes a mark."""
    if not segment[2]:
        return segment[3], False
    way = way_of(segment)
    return way.goal, way.mark


def _guarded(states: Sequence[State], number: int, segment: Segment, counts: Counts) -> Segment:
    """The segment with the bounds that a count must keep for the way to go on."""
    first, last, actions, target = segment
    machine = states[number].machine
    if not actions:
        guards = _guards(machine, False, number, target, counts) if machine.counts else ()
        return (first, last, tuple(guards), target) if guards else segment
    way = way_of(segment)
    machines = [machine, *(states[inner].machine for inner, _ in way.inner)]
    goals = [way.goal, *(inner for inner, _ in way.inner)]
    made: list[Action] = []
    for depth, (owner, goal) in enumerate(zip(machines, goals, strict=True)):
        mark = way.mark if not depth else way.inner[depth - 1][1] > 0
        if owner.counts:
            before = number if not depth else None
            made += _guards(owner, mark, before, goal, counts)
        if depth < len(way.inner):
            made.append((PUSH, goal))
    made += [action for action in actions if action[0] not in (COUNT, PUSH)]
    return first, last, tuple(made), target


def _guards(machine: Machine, mark: bool, before: int | None, goal: int, counts: Counts) -> list[Action]:
    need, most = (0, 0) if goal == END else (counts.need[goal], counts.most[goal])
    made: list[Action] = []
    highest = UNLIMITED if machine.maximum == UNLIMITED else machine.maximum - need
    if mark:
        made.append((COUNT, highest))
    if before is None:
        return made  # the frame is new, and ``bound`` knows its count
    if not mark and machine.maximum < UNLIMITED and need > counts.need[before]:
        made.append((LIMIT, highest))
    if machine.minimum > most and counts.most[before] - mark > most:
        made.append((CHECK, machine.minimum - most))
    return made


__all__ = ["END", "ENDLESS", "MARK", "Counts", "Way", "bound", "way_of"]
