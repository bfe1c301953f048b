"""Equal states of finished tables become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chimerac.passes.grammar_fst.nfa import POP, PUSH, Action
from chimerac.runtime.bundle_format.fstpack import REJECT, RETURN


class Table(NamedTuple):
    """Cells and action lists as ``_cells`` gives them, [S, 4] what is told of each state, and the first state."""

    cells: NDArray[np.int64]
    actions: list[tuple[Action, ...]]
    info: NDArray[np.uint16]
    start: int


def _goals(table: Table, state: int) -> dict[int, None]:
    """The states that the cells of a state name."""
    goals: dict[int, None] = {}
    for cell in dict.fromkeys(table.cells[state].tolist()):
        if cell == REJECT or cell & 0xFFFF == RETURN:
            continue
        listed = table.actions[cell >> 16]
        goals |= dict.fromkeys(argument for kind, argument in listed if kind == PUSH)
        if listed[-1:] != ((POP, 0),):
            goals[cell & 0xFFFF] = None
    return goals


def _reached(table: Table) -> NDArray[np.int64]:
    """The states that can be reached, in the order of a breadth-first search."""
    seen = {table.start}
    order = [table.start]
    for state in order:
        for goal in _goals(table, state):
            if goal not in seen:
                seen.add(goal)
                order.append(goal)
    return np.array(order, np.int64)


def _apply(
    cells: NDArray[np.int64], actions: Sequence[tuple[Action, ...]], number: NDArray[np.int64]
) -> tuple[NDArray[np.int64], list[tuple[Action, ...]]]:
    """Cells and actions with states renumbered (``number[state]``); equal action lists become one."""
    lists: dict[tuple[Action, ...], int] = {(): 0}
    high = np.zeros(len(actions), np.int64)
    for index, listed in enumerate(actions):
        moved = tuple((kind, int(number[arg]) if kind == PUSH else arg) for kind, arg in listed)
        if any(kind == PUSH and arg < 0 for kind, arg in moved):
            continue  # of a state that is never reached
        high[index] = lists.setdefault(moved, len(lists))
    popping = np.array([listed[-1:] == ((POP, 0),) for listed in actions])
    goal, act = cells & 0xFFFF, np.where(cells == REJECT, 0, cells >> 16)
    plain = (cells != REJECT) & (goal != RETURN)
    moved_goal = np.where(plain & ~popping[act], number[np.where(plain, goal, 0)], np.where(plain, 0, goal))
    return np.where(cells == REJECT, REJECT, moved_goal | high[act] << 16), list(lists)


def _renumber(table: Table, keep: NDArray[np.int64]) -> Table:
    number = np.full(len(table.cells), -1, np.int64)
    number[keep] = np.arange(len(keep))
    cells, moved = _apply(table.cells[keep], table.actions, number)
    return Table(cells, moved, table.info[keep].copy(), int(number[table.start]))


def merged(table: Table) -> Table:
    """The table with equal states merged and without those that can't be reached, in breadth-first order.

    Counters, kinds and frames that are needed tell states apart.
    """
    table = _renumber(table, _reached(table))
    # blocks are numbered by their first state, so that the order stays breadth-first
    block = numbered(_Refinement(table).blocks()[:, None])
    _, leaders = np.unique(block, return_index=True)
    cells, listed = _apply(table.cells, table.actions, block)
    return Table(cells[leaders], listed, table.info[leaders].copy(), int(block[table.start]))


class _Refinement:
    """Hopcroft's refinement: only what leads to a block that was split off is looked at again."""

    def __init__(self, table: Table) -> None:
        cells = table.cells
        plain = (cells != REJECT) & (cells & 0xFFFF != RETURN)
        popping = np.array([listed[-1:] == ((POP, 0),) for listed in table.actions])
        self._act = np.where(cells == REJECT, 0, cells >> 16)
        leads = plain & ~popping[self._act]
        self._goal = np.where(leads, cells & 0xFFFF, len(cells))
        #: what a cell is beside its goal and its actions
        self._kind = np.where(cells == REJECT, 2, np.where(plain, 0, 1))
        self._actions = table.actions
        self._pushing = np.array([any(kind == PUSH for kind, _ in listed) for listed in table.actions])
        self._before: list[list[int]] = [[] for _ in cells]
        for state in range(len(cells)):
            for goal in _goals(table, state):
                self._before[goal].append(state)
        first = numbered(table.info)
        self._block = np.append(first, -1)
        self._sizes = np.bincount(first).tolist()
        self._lists: dict[tuple[Action, ...], int] = {}

    def blocks(self) -> NDArray[np.int64]:
        """A number for each state, the same for equal ones."""
        following = list(range(len(self._before)))
        while following:
            moved = self._split(np.array(following, np.int64))
            following = sorted({source for state in moved for source in self._before[state]})
        return self._block[:-1]

    def _split(self, states: NDArray[np.int64]) -> list[int]:
        """Split blocks by what leads on from some of their states; the states that are in a new block."""
        groups: dict[int, dict[int, list[int]]] = {}
        of = self._block[states].tolist()
        for state, block, look in zip(states.tolist(), of, self._looks(states).tolist(), strict=True):
            groups.setdefault(block, {}).setdefault(look, []).append(state)
        moved: list[int] = []
        for block, looks in groups.items():
            members = sorted(looks.values(), key=len)
            if sum(map(len, members)) == self._sizes[block]:
                members.pop()  # the largest part keeps the number
            for part in members:
                self._sizes[block] -= len(part)
                self._block[part] = len(self._sizes)
                self._sizes.append(len(part))
                moved += part
        return moved

    def _looks(self, states: NDArray[np.int64]) -> NDArray[np.int64]:
        """What some rows lead to, by blocks: a number for each, equal for equal ones."""
        act = self._act[states]
        known = np.arange(len(self._actions))
        for index in np.unique(act[self._pushing[act]]).tolist():
            listed = tuple((k, int(self._block[arg]) if k == PUSH else arg) for k, arg in self._actions[index])
            known[index] = self._lists.setdefault(listed, len(self._actions) + len(self._lists))
        return numbered(np.hstack([self._block[self._goal[states]], known[act], self._kind[states]]))


def numbered(rows: NDArray[Any]) -> NDArray[np.int64]:
    """A number for each row, equal for equal ones, in the order in which they come."""
    numbers: dict[bytes, int] = {}
    size = rows.shape[1] * rows.itemsize
    data = np.ascontiguousarray(rows).tobytes()
    keys = (data[at : at + size] for at in range(0, len(data), size))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
