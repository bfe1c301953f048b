"""Which states of an automaton can be reached, each in its frame, and what its frame may lie on.

Frames that open alike are one. Ends of frames go back to the places that opened them, with the byte that ends them, so
what is found can be reached by some text, up to counts, the room of the stack and the cap of whitespace. For each place
a text that leads there is kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np

from chimerac.runtime.bundle_format.fstpack import POP, PUSH, REJECT, RETURN, Automaton

#: A text: the class of a byte, two texts, or nothing.
Text: TypeAlias = "int | tuple[Text, Text] | None"
Actions: TypeAlias = tuple[tuple[int, int], ...]
#: A state of the frame below, that waits, and the number of that frame.
Below: TypeAlias = tuple[int, int]

_START: Final = 0
_ROWS: Final = 1024  #: of the tables, read together


@dataclass
class Cells:
    """The cells of an automaton, read when they are needed."""

    automaton: Automaton
    _op: list[int] = field(init=False)
    _actions: dict[int, Actions] = field(init=False, default_factory=lambda: {0: ()})
    _rows: dict[int, dict[int, int]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._op = self.automaton.op.tolist()

    def row(self, state: int) -> dict[int, int]:
        """The cells of a state that aren't rejections, in the order of their classes, each with the set of those."""
        if state not in self._rows:
            self._read(state - state % _ROWS)
        return self._rows[state]

    def _read(self, first: int) -> None:
        """Read so many rows from one on, by runs of equal cells."""
        cells = self.automaton.delta[first : first + _ROWS, :-1]
        count, width = cells.shape
        begins = np.ones(cells.shape, bool)
        np.not_equal(cells[:, 1:], cells[:, :-1], out=begins[:, 1:])
        places = np.flatnonzero(begins)
        ends = np.append(places[1:], cells.size)
        values = cells.reshape(-1)[places]
        taken = values != REJECT
        places, ends, values = places[taken], ends[taken], values[taken]
        rows = list[dict[int, int]]({} for _ in range(count))
        at, classes = places // width, places % width
        below = [(1 << number) - 1 for number in range(width + 1)]
        runs = zip(at.tolist(), values.tolist(), classes.tolist(), (classes + ends - places).tolist(), strict=True)
        for state, cell, one, end in runs:
            row = rows[state]
            row[cell] = row.get(cell, 0) | below[end] ^ below[one]
        self._rows.update(enumerate(rows, first))

    def actions(self, offset: int) -> Actions:
        """The actions from an offset on."""
        found = self._actions.get(offset)
        if found is None:
            listed = []
            at = offset
            while (word := self._op[at]) & 0xFF:
                listed.append((word & 0xFF, word >> 16))
                at += 1
            found = self._actions[offset] = tuple(listed)
        return found


class Reached:
    """What can be reached. Frame 0 is the lowest one.

    ``states[frame]`` are the states that may be on top in a frame, ``below[frame]`` what it may lie on.
    """

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self.states: list[dict[int, Text]] = [{}]
        self.below: list[dict[Below, Text]] = [{}]
        self._frames: dict[tuple[int, int], int] = {}
        self._popped: list[Text | bool] = [False]  #: the end of a frame by a byte of its own
        self._returned: list[dict[int, Text]] = [{}]  #: class at which a frame may end → its text
        self._queue: deque[tuple[int, int, Text]] = deque()
        self._rest(_START, cells.automaton.start, None)
        while self._queue:
            frame, state, text = self._queue.popleft()
            known = self.states[frame]
            for cell, classes in cells.row(state).items():
                if cell in known:  # without actions, as most are, a cell is a state; no state has the number RETURN
                    continue
                if cell & 0xFFFF == RETURN:
                    for number in _members(classes):
                        self._return(frame, number, text)
                else:
                    self._move(frame, cell, (text, (classes & -classes).bit_length() - 1))

    def _rest(self, frame: int, state: int, text: Text) -> None:
        if state not in self.states[frame]:
            self.states[frame][state] = text
            self._queue.append((frame, state, text))

    def _frame(self, state: int, inner: int) -> int:
        """The frame that opens with a state; ``inner`` is the one that opens above that at once, or -1."""
        number = self._frames.get((state, inner))
        if number is None:
            number = self._frames[state, inner] = len(self.states)
            self.states.append({})
            self.below.append({})
            self._popped.append(False)
            self._returned.append({})
            if inner < 0:
                self._rest(number, state, None)
            else:
                self._open(inner, (state, number), None)
        return number

    def _move(self, frame: int, cell: int, text: Text) -> None:
        """A byte is taken; the text includes it."""
        actions = self.cells.actions(cell >> 16)
        chain = [argument for kind, argument in actions if kind == PUSH]
        if actions[-1:] != ((POP, 0),):
            chain.append(cell & 0xFFFF)
        if not chain:
            self._pop(frame, text)
        elif len(chain) == 1:
            self._rest(frame, chain[0], text)
        else:
            inner = -1
            for state in reversed(chain[1:]):
                inner = self._frame(state, inner)
            self._open(inner, (chain[0], frame), text)

    def _open(self, inner: int, below: Below, text: Text) -> None:
        if below in self.below[inner]:
            return
        self.below[inner][below] = text
        popped = self._popped[inner]
        if popped is not False:
            self._rest(below[1], below[0], (text, popped))
        for number, end in list(self._returned[inner].items()):
            self._go_on(below, number, (text, end))

    def _pop(self, frame: int, text: Text) -> None:
        if self._popped[frame] is False:
            self._popped[frame] = text
            for (state, lower), before in list(self.below[frame].items()):
                self._rest(lower, state, (before, text))

    def _return(self, frame: int, number: int, text: Text) -> None:
        """A frame ends before a byte of a class."""
        if number not in self._returned[frame]:
            self._returned[frame][number] = text
            for below, before in list(self.below[frame].items()):
                self._go_on(below, number, (before, text))

    def _go_on(self, below: Below, number: int, text: Text) -> None:
        """The byte before which the upper frame ended comes to a state that waited."""
        cell = int(self.cells.automaton.delta[below[0], number])
        if cell == REJECT:
            return
        if cell & 0xFFFF == RETURN:
            self._return(below[1], number, text)
        else:
            self._move(below[1], cell, (text, number))

    # -- texts

    def text(self, frames: Sequence[tuple[int, Text]]) -> bytes:
        """A text of frames, outermost first, each with what is in it; what is below the first comes before."""
        lower: list[Text] = []
        seen = {frames[0][0]}
        queue = [(frames[0][0], lower)]
        for frame, after in queue:
            if frame == _START:
                return self._bytes([*after, *(text for _, text in frames)])
            for (_, below), text in self.below[frame].items():
                if below not in seen:
                    seen.add(below)
                    queue.append((below, [text, *after]))
        raise AssertionError(frames)

    def _bytes(self, texts: Sequence[Text]) -> bytes:
        classes = self.cells.automaton.classes.tolist()
        byte_of = {number: byte for byte, number in reversed(list(enumerate(classes)))}
        byte_of |= {classes[byte]: byte for byte in range(0x7E, 0x20, -1)}
        found = bytearray()
        stack: list[Text] = list(reversed(texts))
        while stack:
            text = stack.pop()
            if isinstance(text, int):
                found.append(byte_of[text])
            elif text is not None:
                stack += [text[1], text[0]]
        return bytes(found)


def _members(classes: int) -> Iterator[int]:
    while classes:
        yield (classes & -classes).bit_length() - 1
        classes &= classes - 1
