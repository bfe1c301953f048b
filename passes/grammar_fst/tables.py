"""Deterministic states → the tables of an ``Automaton``, the same states merged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.grammar import BYTES, MAX_ACTION_WORDS, MAX_CELLS, Budget, Grammar
from chimerac.passes.grammar_fst.closing import NO_ROOM, UNREACHABLE, Loop, closing
from chimerac.passes.grammar_fst.merge import Table, merged, numbered
from chimerac.passes.grammar_fst.nfa import CHECK, COUNT, Action
from chimerac.passes.grammar_fst.states import Shared, State
from chimerac.runtime.bundle_format.fstpack import (
    FLAG_SLOTS,
    REJECT,
    RETURN,
    STACK_FRAMES,
    UNLIMITED,
    Automaton,
)

#: Characters of the text slice: (first, last) of each byte; continuation bytes are 0x80..0xBF unless listed.
_TAIL = (0x80, 0xBF)
_SLICE_ASCII: Final = ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0x7F))
_SLICE_WIDE: Final = (
    ((0xC2, 0xDF), _TAIL),
    ((0xE0, 0xE0), (0xA0, 0xBF), _TAIL),
    ((0xE1, 0xEC), _TAIL, _TAIL),
    ((0xED, 0xED), (0x80, 0x9F), _TAIL),
    ((0xEE, 0xEF), _TAIL, _TAIL),
    ((0xF0, 0xF0), (0x90, 0xBF), _TAIL, _TAIL),
    ((0xF1, 0xF3), _TAIL, _TAIL, _TAIL),
    ((0xF4, 0xF4), (0x80, 0x8F), _TAIL, _TAIL),
)
_END = 256
_SLOTS: Final = sum(FLAG_SLOTS.values())
_CELL_BYTES: Final = 36  #: of a cell, in all forms that it takes on the way


def tables(grammar: Grammar, states: Sequence[State], start: int, budget: Budget, *, minimise: bool) -> Automaton:
    """The automaton of deterministic states.

    Raises UserError CHM282 for too many actions, CHM284 where no text at all matches.
    """
    ends = closing(states)
    if ends.close[start] >= UNREACHABLE or ends.room[start] + bool(grammar.flags & _SLOTS) > STACK_FRAMES:
        limits = f"{UNREACHABLE:,} bytes and {STACK_FRAMES} frames"
        message = f"the grammar {grammar.name} matches no text that ends within {limits}"
        raise UserError("CHM284", message, hint="a recursion without an end, or parts that contradict each other")
    assert states[start].machine.main
    columns = _columns(states)
    budget.use(BYTES, len(states) * (int(columns[-1]) + 1) * _CELL_BYTES)
    cells, actions = _cells(grammar, states, columns)
    loops, loop_of = _loops(ends.loop)
    info = np.zeros((len(states), 4), np.uint16)
    info[:, 0] = ends.close
    room = np.array(ends.room, np.int64)
    if grammar.flags & _SLOTS:  # what stands in a slot has a frame of its own
        room = np.minimum(room + 1, NO_ROOM)
    info[:, 1] = room
    info[:, 2] = loop_of
    info[:, 3] = [state.machine.kind for state in states]
    if minimise:
        cells, actions, info, start = merged(Table(cells, actions, info, start))
    op, offsets = _encode(grammar, actions)
    delta = _offsets(cells, offsets)
    first, classes = _classes(delta, columns)
    delta = np.ascontiguousarray(np.hstack([delta[:, first], delta[:, -1:]]))  # END is the last class
    info[:, 1] |= _slices(cells, columns, actions, info, loops) << 8
    return Automaton(
        name=grammar.name,
        classes=classes.astype(np.uint8),
        delta=delta,
        op=op,
        state=info,
        loop=loops,
        start=start,
        space_cap=grammar.space_cap,
        flags=grammar.flags,
        machines=len({state.machine.name for state in states}),
        source=grammar.source,
    )


def _columns(states: Sequence[State]) -> NDArray[np.int64]:
    """The column of each byte and of END in the tables: bytes between which no state tells apart share one."""
    bounds, ranges = 1, set[tuple[int, int]]()
    for shared in _shared(states):
        ranges.update([segment[:2] for segment in shared.segments])
    for state in states:
        ranges.update([segment[:2] for segment in state.segments])
        bounds |= state.returns ^ state.returns << 1
    for first, last in ranges:
        bounds |= 1 << first | 1 << last + 1
    return np.cumsum([bounds >> byte & 1 for byte in range(_END)] + [1]) - 1


def _cells(
    grammar: Grammar, states: Sequence[State], columns: NDArray[np.int64]
) -> tuple[NDArray[np.int64], list[tuple[Action, ...]]]:
    """[S, columns] cells with the number of an action list in the high half, and the action lists; list 0 is empty."""
    width = int(columns[-1]) + 1
    if len(states) * width > MAX_CELLS:
        message = f"the grammar {grammar.name} needs tables of more than {MAX_CELLS:,} cells"
        raise UserError("CHM282", message, hint="make repetitions shorter or the grammar simpler")
    cells = _shared_cells(states, columns)
    actions: list[tuple[Action, ...]] = [()]
    numbers: dict[tuple[Action, ...], int] = {(): 0}
    place = columns.tolist()
    _, one_of = np.unique(columns, return_index=True)

    def number(listed: tuple[Action, ...]) -> int:
        found = numbers.get(listed)
        if found is None:
            found = numbers[listed] = len(actions)
            actions.append(listed)
        return found

    begins, lengths, values = list[int](), list[int](), list[int]()
    for index, state in enumerate(states):
        row, segments = index * width, state.segments
        begins += [row + place[segment[0]] for segment in segments]
        lengths += [place[segment[1]] + 1 - place[segment[0]] for segment in segments]
        values += [segment[3] | number(segment[2]) << 16 if segment[2] else segment[3] for segment in segments]
    _fill(cells.reshape(-1), begins, lengths, values)
    for index, state in enumerate(states):
        if state.final:
            check = ((CHECK, state.check),) if state.check else ()
            cell = RETURN | number(check) << 16
            row = cells[index]
            row[-1] = cell
            if state.returns:
                returning = [bool(state.returns >> byte & 1) for byte in one_of[:-1].tolist()]
                row[:-1][(row[:-1] == REJECT) & returning] = cell
    return cells, actions


def _shared(states: Sequence[State]) -> dict[Shared, int]:
    """The segments that states share, numbered."""
    found: dict[Shared, int] = {}
    for state in states:
        if state.shared is not None:
            found.setdefault(state.shared, len(found))
    return found


def _shared_cells(states: Sequence[State], columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """[S, columns] cells of what states share; REJECT elsewhere."""
    shared, width = _shared(states), int(columns[-1]) + 1
    place = columns.tolist()
    rows = np.full((len(shared) + 1, width), REJECT, np.int64)
    held = [(number * width, segment) for one, number in shared.items() for segment in one.segments]
    begins = [row + place[segment[0]] for row, segment in held]
    lengths = [place[segment[1]] + 1 - place[segment[0]] for _, segment in held]
    _fill(rows.reshape(-1), begins, lengths, [segment[3] for _, segment in held])
    return rows[[len(shared) if state.shared is None else shared[state.shared] for state in states]]


def _fill(to: NDArray[np.int64], begins: Sequence[int], lengths: Sequence[int], values: Sequence[int]) -> None:
    """Each value to its run of places; no two runs overlap."""
    counts = np.array(lengths, np.int64)
    before = np.cumsum(counts) - counts  # of each run in the row of all places
    places = np.repeat(np.array(begins, np.int64) - before, counts) + np.arange(int(counts.sum()))
    to[places] = np.repeat(np.array(values, np.int64), counts)


def _loops(wanted: Sequence[Loop]) -> tuple[NDArray[np.uint16], list[int]]:
    """The table of loops, and the row of each state."""
    rows = {(0, UNLIMITED, 0): 0}
    of = [rows.setdefault(loop, len(rows)) for loop in wanted]
    return np.array([[*row, 0] for row in rows], np.uint16), of


def _encode(grammar: Grammar, actions: Sequence[tuple[Action, ...]]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The words of all action lists, and where each list starts."""
    words = [0]
    offsets = np.zeros(len(actions), np.int64)
    for index, listed in enumerate(actions):
        if listed:
            offsets[index] = len(words)
            words += [kind | argument << 16 for kind, argument in listed]
            words.append(0)
    if len(words) > MAX_ACTION_WORDS:
        raise UserError("CHM282", f"the grammar {grammar.name} needs too many actions ({len(words):,} words)")
    return np.array(words, np.uint32), offsets


def _offsets(cells: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.uint32]:
    """The cells with offsets of action lists in place of their numbers; most have no actions."""
    found = cells.astype(np.uint32)
    acting = np.flatnonzero((cells > 0xFFFF) & (cells != REJECT))
    held = cells.reshape(-1)[acting]
    found.reshape(-1)[acting] = (held & 0xFFFF) | offsets[held >> 16] << 16
    return found


def _classes(delta: NDArray[np.uint32], columns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(a column of each class, in the order of their first bytes; the class of each byte): equal columns are one."""
    number = numbered(delta[:, :-1].T)
    _, first = np.unique(number, return_index=True)
    return first, number[columns[:_END]]


def _slices(
    cells: NDArray[np.int64],
    columns: NDArray[np.int64],
    actions: Sequence[tuple[Action, ...]],
    info: NDArray[np.uint16],
    loops: NDArray[np.uint16],
) -> NDArray[np.uint16]:
    """1 for states where every token of the text slice leads back without actions, 2 where each character counts."""
    found = np.zeros(len(cells), np.uint16)
    letters = cells[:, columns[ord("a")]]
    own = np.flatnonzero((letters != REJECT) & ((letters & 0xFFFF) == np.arange(len(cells))))
    for state in own.tolist():
        listed = actions[int(letters[state]) >> 16]
        counted = listed == ((COUNT, int(loops[info[state, 2], 1])),) and info[state, 2] > 0
        if (listed == () or counted) and _covers(cells, columns, state, int(letters[state])):
            found[state] = 2 if counted else 1
    return found


def _covers(cells: NDArray[np.int64], columns: NDArray[np.int64], state: int, cell: int) -> bool:
    row = cells[state, columns]
    if any((row[first : last + 1] != cell).any() for first, last in _SLICE_ASCII):
        return False
    for path in _SLICE_WIDE:
        reached = {(state, True)}
        for index, (first, last) in enumerate(path):
            following: set[tuple[int, bool]] = set()
            for at, head in reached:
                for found in set(cells[at, columns[first] : columns[last] + 1].tolist()):
                    act = cell >> 16 if head else 0
                    if found == REJECT or found & 0xFFFF == RETURN or found >> 16 != act:
                        return False
                    following.add((found & 0xFFFF, False))
            reached = following
            if index == len(path) - 1 and reached != {(state, False)}:
                return False
    return True
