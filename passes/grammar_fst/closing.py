"""A way to the end from every state: its bytes, also where items are still to be counted, and the frames it needs.

With ``missing = max(0, minimum - need - count)``, the marks that are wanted beyond those which the shortest way
has, ``close + unit * missing`` is an upper bound of the bytes to the end of the frame. It can always be kept: some
byte lowers it by one at least. A way is *short* where it makes no more marks than needed; where marks are missing
another one is gone, with ``extra`` marks. ``unit`` is what the dearest of the cheapest such ways costs. Where a
state is only reached with one count, ``close`` is what the cheapest way from there really takes, and there is no
unit.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from chimerac.passes.grammar_fst.counting import END, ENDLESS, Counts, Way, bound, way_of
from chimerac.passes.grammar_fst.frame_counts import ranges_of
from chimerac.passes.grammar_fst.nfa import COUNT, POP, PUSH, SPACE_ACTION, UNLIMITED, Action
from chimerac.passes.grammar_fst.states import Segment, Shared, State
from chimerac.runtime.bundle_format.fstpack import LOWEST_MARK, SLOT_BYTES

UNREACHABLE: Final = 65535
NO_ROOM: Final = 255
_MOST_ROUNDS: Final = 24
_PLACE_BITS: Final = 16
_PLACES: Final = (1 << _PLACE_BITS) - 1

Loop = tuple[int, int, int]  #: least marks that are wanted, most that a mark of the state allows, bytes for each


@dataclass(frozen=True)
class Closing:
    """For each state: bytes and frames to the end of the frame, UNREACHABLE and NO_ROOM without one; its ``loop``."""

    close: list[int]
    room: list[int]
    loop: list[Loop]


@dataclass(eq=False, slots=True)
class _Way:
    """A way of a state: what it opens, and its bytes, UNREACHABLE while they are not known."""

    state: int
    place: int  #: among those of its state, from 1 on
    way: Way
    pushes: list[int]
    target: int  #: after all that it opens, or END
    own: int = 1  #: bytes of its first step: more for a slot
    bytes: int = UNREACHABLE


@dataclass
class _Plan:
    """The ways of all states and what is known of their lengths.

    Ways without actions, in machines that count nothing, are in ``before`` only: target → states, each with the place
    of the way in its low bits; those that states share are in ``before_shared``, each with its place.
    """

    states: Sequence[State]
    counts: Counts
    ways: list[list[_Way]] = field(default_factory=list)
    before: dict[int, list[int]] = field(default_factory=dict)
    before_shared: dict[int, list[tuple[Shared, int]]] = field(default_factory=dict)
    users: dict[Shared, list[int]] = field(default_factory=dict)  #: the states that share some segments
    #: where bytes of a frame depend on marks: (state, marks) → bytes, as of the round before
    entries: dict[tuple[int, int], int] = field(default_factory=dict)
    close: list[int] = field(default_factory=list)
    chosen: dict[int, list[_Way]] = field(default_factory=dict)
    plain: dict[int, int] = field(default_factory=dict)  #: state → the next one, where a way of ``before`` is chosen
    units: dict[str, int] = field(default_factory=dict)
    ranges: dict[int, tuple[int, int]] = field(default_factory=dict)  #: state → counts that it may be reached with
    fixed: set[int] = field(default_factory=set)

    # -- what each state is

    def wanting(self, number: int) -> int:
        """Marks that a frame in this state may want beyond those of the short way."""
        minimum = self.states[number].machine.minimum
        return max(0, minimum - self.counts.need[number]) if minimum else 0

    def extra(self, way: _Way) -> int:
        """Marks that a way makes beyond those of the short way."""
        need = self.counts.need
        return way.way.mark + (0 if way.way.goal == END else need[way.way.goal]) - need[way.state]

    def goes_on(self, number: int) -> bool:
        """Whether any number of marks can still be made."""
        return number != END and self.counts.most[number] >= ENDLESS

    def pumps(self, way: _Way) -> bool:
        """Whether a way makes more marks, not more than may be, and goes on."""
        machine = self.states[way.state].machine
        gap = ENDLESS if machine.maximum == UNLIMITED else machine.maximum - machine.minimum + 1
        return self.goes_on(way.way.goal) and 1 <= self.extra(way) <= gap

    def usable(self, number: int) -> list[_Way]:
        """The short ways; those of a state that must go on for ever stay where more marks can be made."""
        machine = self.states[number].machine
        if not machine.counts:
            return self.ways[number]
        found = self.ways[number]
        if machine.maximum < UNLIMITED:
            found = [way for way in found if not self.extra(way)]
        if machine.minimum and self.goes_on(number) and not any(map(self.pumps, self.ways[number])):
            found = [way for way in found if self.goes_on(way.way.goal)]
        return found

    def value(self, number: int, count: int) -> int:
        """The bound of the bytes from a state with a count."""
        missing = 0 if number in self.fixed else max(0, self.wanting(number) - count)
        unit = self.units.get(self.states[number].machine.name, 0) if missing else 0
        return min(UNREACHABLE, self.close[number] + unit * missing)


def closing(states: Sequence[State]) -> Closing:
    """Bound the counters of all states, drop what leads to no end, and find a way to the end from the others."""
    plan = _Plan(states, bound(states))
    for number, state in enumerate(states):
        plan.ways.append(_ways_of(plan, number, state))
    if entered := _entered(plan):
        plan.ranges.update(ranges_of(states, entered))
    for turn in range(_MOST_ROUNDS):
        _shortest(plan)
        _find_units(plan)
        _settle_fixed(plan)
        found = {key: plan.value(*key) for key in _entered(plan)}
        if found == plan.entries:
            break
        if turn > _MOST_ROUNDS // 2:  # they only grow from here on
            found = {key: max(bytes_, plan.entries.get(key, 0)) for key, bytes_ in found.items()}
        plan.entries = found
    if any(close >= UNREACHABLE for close in (*plan.close, *plan.entries.values())):
        for state in states:
            state.segments = [segment for segment in state.all_segments() if _ends(plan, way_of(segment))]
            state.shared = None
    return Closing(plan.close, _rooms(plan), [_loop(plan, number) for number in range(len(states))])


def _ways_of(plan: _Plan, number: int, state: State) -> list[_Way]:
    """The ways of a state that have actions or whose marks count; the others are noted in ``plan.before``."""
    counts = state.machine.counts
    if state.shared is not None:
        if state.shared not in plan.users:
            plan.users[state.shared] = []
            for target, byte in state.shared.targets.items():
                plan.before_shared.setdefault(target, []).append((state.shared, 1 + byte))
        plan.users[state.shared].append(number)
    elif not counts and not [s for s in state.segments if s[2] or s[0] >= LOWEST_MARK]:  # most states
        for place, target in enumerate(dict.fromkeys([segment[3] for segment in state.segments]), 1):
            plan.before.setdefault(target, []).append(number << _PLACE_BITS | place)
        return []
    listed: list[_Way] = []
    seen: set[tuple[tuple[Action, ...], int, bool]] = set()
    for segment in state.segments:
        actions, target, slot = segment[2], segment[3], segment[0] >= LOWEST_MARK
        if (actions, target, slot) in seen or SPACE_ACTION in actions:
            continue
        seen.add((actions, target, slot))
        place = len(seen) if state.shared is None else 1 + segment[0]
        if actions or counts or slot:
            listed.append(_way(number, segment, place))
        else:
            plan.before.setdefault(target, []).append(number << _PLACE_BITS | place)
    return listed


def _way(number: int, segment: Segment, place: int) -> _Way:
    pushes = [argument for kind, argument in segment[2] if kind == PUSH]
    target = END if segment[2][-1:] == ((POP, 0),) else segment[3]
    own = SLOT_BYTES if segment[0] >= LOWEST_MARK else 1
    return _Way(number, place, way_of(segment), pushes, target, own)


def _depends(plan: _Plan, number: int) -> bool:
    return plan.states[number].machine.minimum > 0


def _entered(plan: _Plan) -> set[tuple[int, int]]:
    """The states that ways open, with their marks, whose bytes depend on them."""
    return {key for ways in plan.ways for way in ways for key in way.way.inner if _depends(plan, key[0])}


def _ends(plan: _Plan, way: Way) -> bool:
    return (way.goal == END or plan.close[way.goal] < UNREACHABLE) and all(
        _entry(plan, state, marks) < UNREACHABLE for state, marks in way.inner
    )


def _entry(plan: _Plan, state: int, marks: int) -> int:
    """Bytes to the end of a frame that was just opened."""
    return plan.entries.get((state, marks), UNREACHABLE) if _depends(plan, state) else plan.close[state]


# -- bytes


@dataclass
class _Levels:
    """Ways that are complete, by their bytes: state, place of the way, and the way, or the next state, or END."""

    found: dict[int, list[tuple[int, int, _Way | int]]] = field(default_factory=dict)
    left: list[int] = field(default_factory=list)

    def reach(self, total: int, number: int, place: int, way: _Way | int) -> None:
        """Note that a way from a state takes so many bytes."""
        if total not in self.found:
            self.found[total] = []
            heapq.heappush(self.left, total)
        self.found[total].append((number, place, way))


def _shortest(plan: _Plan) -> None:
    """Knuth's form of Dijkstra's algorithm: a way counts once all states that it needs are settled."""
    close = plan.close = [UNREACHABLE] * len(plan.states)
    plan.chosen, plan.plain = {}, {}
    plan.fixed.clear()
    levels = _Levels()
    waiting, missing = _begun(plan, levels)
    settled = bytearray(len(plan.states))
    at: dict[Shared, int] = {}
    while levels.left and (total := heapq.heappop(levels.left)) < UNREACHABLE:
        for number, _, by in sorted(levels.found.pop(total), key=_order):
            if settled[number]:
                continue
            settled[number] = True
            close[number] = total
            if isinstance(by, _Way):
                plan.chosen[number] = [by]
            elif by != END:
                plan.plain[number] = by
            for source in plan.before.get(number, ()):
                if not settled[source >> _PLACE_BITS]:
                    levels.reach(total + 1, source >> _PLACE_BITS, source & _PLACES, number)
            for source, place in _sharing(plan, number, total, at):
                if not settled[source]:
                    levels.reach(total + 1, source, place, number)
            for waiter in waiting.get(number, ()):
                missing[waiter] -= 1
                waiter.bytes += total
                if not missing[waiter] and waiter.bytes < UNREACHABLE:
                    levels.reach(waiter.bytes, waiter.state, waiter.place, waiter)


def _sharing(plan: _Plan, number: int, total: int, at: dict[Shared, int]) -> Iterator[tuple[int, int]]:
    """The states that share a way to a state which was just settled, each with the place of the way.

    ``at`` are the bytes after the first way of each group of shared ones; later ones are longer.
    """
    for shared, place in plan.before_shared.get(number, ()):
        if at.setdefault(shared, total) == total:
            yield from ((source, place) for source in plan.users[shared])


def _begun(plan: _Plan, levels: _Levels) -> tuple[dict[int, list[_Way]], dict[_Way, int]]:
    """For each state the ways that wait for it, and for how many states each way does; ``levels`` gets the others."""
    waiting: dict[int, list[_Way]] = {}
    missing: dict[_Way, int] = {}
    for number, state in enumerate(plan.states):
        if state.final:
            levels.reach(0, number, 0, END)
        for way in plan.usable(number):
            way.bytes, needed = _needed(plan, way)
            if way.bytes >= UNREACHABLE:
                continue
            missing[way] = len(needed)
            if not needed:
                levels.reach(way.bytes, number, way.place, way)
            for goal in needed:
                waiting.setdefault(goal, []).append(way)
    return waiting, missing


def _order(item: tuple[int, int, _Way | int]) -> tuple[int, int]:
    return item[0], item[1]


def _needed(plan: _Plan, way: _Way) -> tuple[int, list[int]]:
    """The bytes of a way as far as they are known, and the states whose bytes come to them."""
    total = way.own
    needed = [] if way.way.goal == END else [way.way.goal]
    for key in way.way.inner:
        if _depends(plan, key[0]):
            total += plan.entries.get(key, UNREACHABLE)
        else:
            needed.append(key[0])
    return total, needed


def _inner_bytes(plan: _Plan, way: _Way) -> int:
    """The bytes of a way up to the end of all frames that it opens."""
    return way.own + sum(_entry(plan, state, marks) for state, marks in way.way.inner)


def _find_units(plan: _Plan) -> None:
    """What the marks that are missing cost at most, in each machine."""
    plan.units.clear()
    for number, ways in enumerate(plan.ways):
        machine = plan.states[number].machine
        if not machine.minimum or not plan.goes_on(number) or plan.close[number] >= UNREACHABLE:
            continue
        pumps = [way for way in ways if plan.pumps(way)]
        if not pumps:
            continue
        own = plan.close[number]
        costs = [_inner_bytes(plan, way) + plan.close[way.way.goal] - own for way in pumps]
        least = min(costs)
        plan.chosen.setdefault(number, []).append(pumps[costs.index(least)])
        plan.units[machine.name] = max(0, least, plan.units.get(machine.name, 0))


def _settle_fixed(plan: _Plan) -> None:
    """Where only one count is possible: the way that is cheapest with that count."""
    states, counts = plan.states, plan.counts
    numbers = [n for n, (low, high) in plan.ranges.items() if low == high and plan.close[n] < UNREACHABLE]
    changed = True
    while changed:
        changed = False
        for number in numbers:
            count = plan.ranges[number][0]
            best, by = plan.value(number, count), None
            for way in plan.ways[number]:
                after = count + way.way.mark
                if not counts.possible(states[number].machine, way.way.goal, after):
                    continue
                rest = 0 if way.way.goal == END else plan.value(way.way.goal, after)
                total = _inner_bytes(plan, way) + rest
                if total < best:
                    best, by = total, way
            if by is not None:
                plan.close[number] = best
                plan.fixed.add(number)
                plan.chosen[number] = [by]
                changed = True


def _loop(plan: _Plan, number: int) -> Loop:
    if not plan.states[number].machine.counts:
        return 0, UNLIMITED, 0
    low = plan.ranges.get(number, (0, UNLIMITED))[0]
    wanting = plan.wanting(number)
    if number in plan.fixed or wanting <= low:
        wanting = 0
    own = [s[2][0][1] for s in plan.states[number].segments if s[3] == number and s[2] and s[2][0][0] == COUNT]
    unit = plan.units.get(plan.states[number].machine.name, 0) if wanting else 0
    return wanting, own[0] if own else UNLIMITED, min(unit, UNREACHABLE)


# -- frames


def _rooms(plan: _Plan) -> list[int]:
    """Frames that the chosen ways need, grown until nothing changes."""
    close = plan.close
    room = [0 if c < UNREACHABLE else NO_ROOM for c in close]
    order = sorted((n for n in range(len(close)) if close[n] < UNREACHABLE), key=close.__getitem__)
    changed = True
    while changed:
        changed = False
        for number in order:
            following = plan.plain.get(number)
            most = room[number] if following is None else max(room[number], room[following])
            for way in plan.chosen.get(number, ()):
                need = len(way.pushes) + (0 if way.target == END else room[way.target])
                for depth, back in enumerate(way.pushes):
                    need = max(need, depth + room[back])
                most = max(most, min(need, NO_ROOM))
            if most > room[number]:
                room[number] = most
                changed = True
    return room
