"""Entries in their order → deterministic states: the trie of the keys that may still come, after each entry.

The trie from one entry on is that from the next one on with one more path, so only the states of that path are new. In
each state the other bytes lead where those of any other key do; they are shared with the other states of that place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir.grammar import BYTES, WORK, Budget
from chimerac.passes.grammar_fst.menus import Menu
from chimerac.passes.grammar_fst.nfa import Machine
from chimerac.passes.grammar_fst.states import Segment, Shared, State
from chimerac.runtime.bundle_format.fstpack import LOWEST_MARK

_NONE: Final = -1
_SEGMENT_BYTES: Final = 120
_Parent = tuple[int, int]


class Contexts:
    """Makes the states of menus.

    Args:
        states: all states, by their numbers.
        new: makes a state of a machine, of which nothing is asked any more.
        of_node: the number of the state of a node's closure.
        process: finds the segments of a state.
    """

    def __init__(
        self,
        states: list[State],
        new: Callable[[Machine, _Parent], int],
        of_node: Callable[[Machine, int, _Parent], int],
        process: Callable[[int], None],
        budget: Budget,
    ) -> None:
        self._states, self._new, self._of_node, self._process = states, new, of_node, process
        self._budget = budget
        self._begun: dict[tuple[Menu, str], list[int]] = {}  #: states from the last entries on, the last one first
        self._own: dict[int, dict[int, int]] = {}  #: where the keys of entries go on: state → byte → state
        self._other: dict[int, int] = {}  #: the state of other keys at the same place, or _NONE
        self._following: dict[tuple[int, int], int] = {}
        self._shared: dict[tuple[int, frozenset[int]], Shared] = {}

    def enter(self, number: int, menu: Menu, index: int) -> None:
        """Make the states from the choice on that begins with an entry, and of all entries behind it.

        Args:
            number: the state of the choice.
        """
        machine = self._states[number].machine
        begun = self._begun.setdefault((menu, machine.name), [])
        while len(begun) < len(menu.words) - index:
            at = len(menu.words) - 1 - len(begun)
            parent = (number, -1)
            root = number if at == index else self._of_node(machine, menu.enters[at], parent)
            self._budget.use(WORK, len(menu.words[at]))
            self._path(menu, at, root, begun[-1] if begun else _NONE)
            begun.append(root)

    def _path(self, menu: Menu, index: int, root: int, following: int) -> None:
        """The states of a choice: those of the choice ``following`` it, with a path for the entry's key."""
        machine, word = self._states[root].machine, menu.words[index]
        old = _NONE if menu.required[index] else following
        other = _NONE
        if menu.others_from(index):
            other = self._of_node(machine, menu.other, (root, -1))
        at = root
        for byte in word[:-1]:
            own = self._own[at] = dict(self._own.get(old, ()))
            self._other[at] = other
            old = own.get(byte, _NONE)
            other = self._after(other, byte)
            own[byte] = self._new(machine, (at, byte))
            self._finish(at)
            at = own[byte]
        self._own[at] = dict(self._own.get(old, ()))
        self._own[at][word[-1]] = self._of_node(machine, menu.afters[index], (at, word[-1]))
        self._other[at] = other
        self._finish(at)

    def _after(self, other: int, byte: int) -> int:
        """The state of other keys after one more byte; _NONE where only an entry has it."""
        if other == _NONE:
            return _NONE
        found = self._following.get((other, byte))
        if found is None:
            found = _NONE
            self._process(other)
            for first, last, actions, target in self._states[other].all_segments():
                if first <= byte <= last:
                    if actions:
                        raise InternalError("a key of entries in order begins like another one with actions")
                    found = target
            self._following[other, byte] = found
        return found

    def _finish(self, number: int) -> None:
        """The segments of a state."""
        state, own, other = self._states[number], self._own[number], self._other[number]
        state.segments = [(byte, byte, (), own[byte]) for byte in sorted(own)]
        self._budget.use(BYTES, _SEGMENT_BYTES * len(own))
        if other == _NONE:
            return
        key = other, frozenset(own)
        shared = self._shared.get(key)
        if shared is None:
            self._process(other)
            rest = list(_without(self._states[other].all_segments(), own))
            self._budget.use(BYTES, _SEGMENT_BYTES * len(rest))
            shared = self._shared[key] = Shared.of(rest)
        if state.machine.counts or any(actions or last >= LOWEST_MARK for _, last, actions, _ in shared.segments):
            state.segments = sorted([*state.segments, *shared.segments])
        else:
            state.shared = shared


def _without(segments: Iterable[Segment], out: Iterable[int]) -> Iterator[Segment]:
    """Segments without some bytes."""
    bytes_ = sorted(out)
    for first, last, actions, target in segments:
        for byte in bytes_:
            if first <= byte <= last:
                if first < byte:
                    yield first, byte - 1, actions, target
                first = byte + 1
        if first <= last:
            yield first, last, actions, target
