"""The proof that every text begun can be ended, made on the finished tables: docs/fstpack.md, "Closing".

For each state and each count that it may have, one of two things must hold. Where ``closing`` is over 0 some byte
lowers it by one at least, needs no more frames than ``room`` promises, and is not optional whitespace. Where it is
0 the frame can end; then the frames below are looked at, as far as they can end too: the next byte that lowers the
closing of one of them must not mean something else above. By induction an end can be reached from every
configuration, in ``closing`` bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from chimerac.passes.grammar_fst.count_ranges import CountRanges
from chimerac.passes.grammar_fst.masks import tops
from chimerac.runtime.bundle_format.fstpack import (
    CHECK,
    COUNT,
    LIMIT,
    NO_TOP,
    POP,
    PUSH,
    REJECT,
    RETURN,
    SPACE,
    UNLIMITED,
    Automaton,
)

_BOUNDS: Final = (COUNT, LIMIT)
_MOST_TEXTS: Final = 4000  #: that are tried for an example
_DEEPEST: Final = 12  #: frames of those

#: State, count, and both of each frame, outermost first.
_Place = tuple[int, int, tuple[tuple[int, int], ...]]


@dataclass(frozen=True)
class Stuck:
    """A place from which the text can't be ended as promised: a state, a count, and what is below it, or NO_TOP.

    Args:
        example: bytes that lead there, or to another such place, if one was found.
    """

    state: int
    count: int
    top: int = NO_TOP
    example: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Move:
    """A cell that shifts: the set of its classes, its actions, the next state, or -1 after a pop."""

    classes: int
    actions: tuple[tuple[int, int], ...]
    goal: int


@dataclass
class _State:
    moves: list[_Move] = field(default_factory=list)
    returns: list[tuple[int, int]] = field(default_factory=list)  #: set of classes, count that is needed
    end: int = -1  #: count that is needed to end here; -1 where it can't


def stuck(automaton: Automaton) -> Stuck | None:
    """A place from which a text of the automaton can't be ended as promised; None if there is none, which is proved."""
    prover = Prover(automaton)
    found = next(prover.stuck(), None)
    return None if found is None else replace(found, example=prover.example())


class Prover:
    """Proves one automaton."""

    def __init__(self, automaton: Automaton) -> None:
        self.automaton = automaton
        self._op = automaton.op.tolist()
        self._close = automaton.state[:, 0].tolist()
        self._room = (automaton.state[:, 1] & 0xFF).tolist()
        self._loop = automaton.loop.tolist()
        self._loop_of = automaton.state[:, 2].tolist()
        self._states = [self._read(row) for row in automaton.delta.tolist()]

    def _read(self, row: list[int]) -> _State:
        found = _State()
        classes: dict[int, int] = {}
        for number, cell in enumerate(row[:-1]):
            if cell != REJECT:
                classes[cell] = classes.get(cell, 0) | 1 << number
        for cell, members in classes.items():
            actions = self._actions(cell >> 16) if cell >> 16 else ()
            if cell & 0xFFFF == RETURN:
                found.returns.append((members, _checked(actions)))
            else:
                popped = actions[-1:] == ((POP, 0),)
                found.moves.append(_Move(members, actions, -1 if popped else cell & 0xFFFF))
        if row[-1] != REJECT:
            found.end = _checked(self._actions(row[-1] >> 16))
        return found

    def _actions(self, offset: int) -> tuple[tuple[int, int], ...]:
        found = []
        while (word := self._op[offset]) & 0xFF:
            found.append((word & 0xFF, word >> 16))
            offset += 1
        return tuple(found)

    def closing(self, state: int, count: int) -> int:
        """The bound of the bytes to the end of a frame."""
        minimum, _, unit, _ = self._loop[self._loop_of[state]]
        return int(self._close[state] + unit * max(0, minimum - count))

    # -- counts

    def ranges(self) -> dict[int, tuple[int, int]]:
        """The counts that each state that can be reached may have: from the least to the greatest."""
        bounds = {argument for s in self._states for m in s.moves for kind, argument in m.actions if kind in _BOUNDS}
        ranges = CountRanges(bounds)
        ranges.reach(self.automaton.start, 0, 0)
        while ranges.pending:
            state = ranges.pending.pop()
            for move in self._states[state].moves:
                for goal, low, high in _flow(move, *ranges.found[state]):
                    ranges.reach(goal, low, high)
        return ranges.found

    # -- one state

    def _falls(self, state: int, move: _Move, count: int) -> bool:
        """Whether a move is possible with a count, and lowers ``closing`` within the room of the state."""
        total, frames, room = 1, 0, self._room[state]
        for kind, argument in move.actions:
            if kind == SPACE or (kind == CHECK and count < argument) or (kind == LIMIT and count > argument):
                return False
            if kind == COUNT:
                if argument != UNLIMITED and count >= argument:
                    return False
                count = min(count + 1, UNLIMITED)
            elif kind == PUSH:
                if frames + max(1, self._room[argument]) > room:
                    return False
                total += self.closing(argument, count)
                frames, count = frames + 1, 0
        if move.goal >= 0:
            if frames + self._room[move.goal] > room:
                return False
            total += self.closing(move.goal, count)
        return total <= self._limit

    def _points(self, state: int, low: int, high: int) -> list[int]:
        """Counts between which nothing changes but in proportion."""
        marks = {self._loop[self._loop_of[state]][0], UNLIMITED}
        for move in self._states[state].moves:
            for kind, argument in move.actions:
                if kind == PUSH:
                    marks.add(self._loop[self._loop_of[argument]][0])
                    break
                if kind in (CHECK, COUNT, LIMIT):
                    marks.add(argument)
            else:
                if move.goal >= 0:
                    marks.add(self._loop[self._loop_of[move.goal]][0])
        near = {mark + offset for mark in marks for offset in (-2, -1, 0, 1, 2)}
        return sorted({low, high} | {point for point in near if low < point < high})

    def _falling(self, state: int, count: int) -> int:
        """The set of moves that lower ``closing``."""
        self._limit = self.closing(state, count)
        return sum(1 << i for i, move in enumerate(self._states[state].moves) if self._falls(state, move, count))

    def _pieces(self, state: int, low: int, high: int) -> Iterator[tuple[int, int]]:
        """(count, moves) for pieces of a range of counts where ``closing`` is over 0; 0 moves where none will do."""
        if low == high:
            if self.closing(state, low) > 0:
                yield low, self._falling(state, low)
            return
        points = self._points(state, low, high)
        sets = [self._falling(state, point) for point in points]
        for index, (point, moves) in enumerate(zip(points, sets, strict=True)):
            if self.closing(state, point) > 0:
                yield point, moves
            if index + 1 < len(points) and points[index + 1] > point + 1:
                following = points[index + 1]
                if not self.closing(state, point + 1):
                    continue
                if moves & sets[index + 1]:
                    yield point + 1, moves & sets[index + 1]
                else:
                    yield from ((count, self._falling(state, count)) for count in range(point + 1, following))

    # -- all

    def stuck(self) -> Iterator[Stuck]:
        """The places where the proof fails: none of a grammar that may be used."""
        ranges = self.ranges()
        possible = tops(self.automaton)
        lowering: dict[int, list[tuple[int, int]]] = {}  #: count → set of classes that lower the closing
        ending: dict[int, int] = {}  #: state that may end → classes at which it does
        for state, (low, high) in ranges.items():
            here = self._states[state]
            pieces: list[tuple[int, int]] = []
            for count, moves in self._pieces(state, low, high):
                classes = 0
                for index, move in enumerate(here.moves):
                    classes |= move.classes if moves >> index & 1 else 0
                pieces.append((count, classes))
                if not moves:
                    yield Stuck(state, count)
            lowering[state] = pieces
            if self.closing(state, high):
                continue
            minimum = self._loop[self._loop_of[state]][0]
            least = max(low, minimum) if self.closing(state, low) else low
            if not 0 <= here.end <= least:
                yield Stuck(state, least)
                continue
            ending[state] = sum(members for members, needed in here.returns if needed <= least)
        yield from self._below(possible, lowering, ending)

    def _below(
        self, possible: list[set[int]], lowering: dict[int, list[tuple[int, int]]], ending: dict[int, int]
    ) -> Iterator[Stuck]:
        """Frames that wait for a byte which the states above them, though they may end, take for something else."""
        seen: set[tuple[int, int]] = set()
        queue = [(state, state, classes) for state, classes in ending.items()]
        while queue:
            state, above, classes = queue.pop()
            for top in possible[above]:
                if top == NO_TOP or (top, classes) in seen:
                    continue
                seen.add((top, classes))
                if any(not classes & wanted for _, wanted in lowering.get(top, ())):
                    yield Stuck(state, 0, top)
                if top in ending:
                    queue.append((state, top, classes & ending[top]))

    # -- an example

    def example(self) -> bytes | None:
        """A short text after which no byte lowers ``closing``, though it is not 0 yet."""
        byte_of = {int(number): byte for byte, number in reversed(list(enumerate(self.automaton.classes.tolist())))}
        byte_of |= {int(self.automaton.classes[byte]): byte for byte in range(0x7E, 0x20, -1)}
        start: _Place = (self.automaton.start, 0, ())
        before: dict[_Place, tuple[_Place, int] | None] = {start: None}
        queue = [start]
        for at in queue:
            total = self._total(at)
            following = [(number, *step) for number in byte_of if (step := self._step(at, number)) is not None]
            if total and all(space or self._total(after) >= total for _, after, space in following):
                text, place = bytearray(), at
                while (link := before[place]) is not None:
                    text.append(byte_of[link[1]])
                    place = link[0]
                return bytes(reversed(text))
            for number, after, _ in following:
                if after not in before and len(before) < _MOST_TEXTS and len(after[2]) <= _DEEPEST:
                    before[after] = at, number
                    queue.append(after)
        return None

    def _total(self, at: _Place) -> int:
        return self.closing(at[0], at[1]) + sum(self.closing(*frame) for frame in at[2])

    def _step(self, at: _Place, number: int) -> tuple[_Place, bool] | None:
        """The configuration after a byte of a class, and whether that is optional whitespace; room is not looked at."""
        space = False
        state, count, frames = at
        while any(members >> number & 1 and needed <= count for members, needed in self._states[state].returns):
            if not frames:
                return None
            (state, count), frames = frames[-1], frames[:-1]
        move = next((m for m in self._states[state].moves if m.classes >> number & 1), None)
        if move is None:
            return None
        for kind, argument in move.actions:
            if (kind == CHECK and count < argument) or (kind == LIMIT and count > argument):
                return None
            space |= kind == SPACE
            if kind == COUNT:
                if argument != UNLIMITED and count >= argument:
                    return None
                count = min(count + 1, UNLIMITED)
            elif kind == PUSH:
                frames, count = (*frames, (argument, count)), 0
            elif kind == POP:
                if not frames:
                    return None
                (state, count), frames = frames[-1], frames[:-1]
        return ((state if move.goal < 0 else move.goal), count, frames), space


def _checked(actions: tuple[tuple[int, int], ...]) -> int:
    return max((argument for _, argument in actions), default=0)


def _flow(move: _Move, low: int, high: int) -> Iterator[tuple[int, int, int]]:
    """The states that a move leads to or pushes, with the counts that they get."""
    for kind, argument in move.actions:
        if kind == COUNT:
            most = high if argument == UNLIMITED else min(high, argument - 1)
            low, high = min(low + 1, UNLIMITED), min(most + 1, UNLIMITED)
        elif kind == CHECK:
            low = max(low, argument)
        elif kind == LIMIT:
            high = min(high, argument)
        if low > high:
            return
        if kind == PUSH:
            yield argument, low, high
            low = high = 0
    if move.goal >= 0:
        yield move.goal, low, high
