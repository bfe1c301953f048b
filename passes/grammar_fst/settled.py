"""The part of the proof that is made for all states at once: those that need no counts."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from chimerac.passes.grammar_fst.reached import Cells
from chimerac.runtime.bundle_format.fstpack import POP, PUSH, REJECT, RETURN, Automaton

_ROWS: Final = 4096  #: of the tables, looked at together


def settled_states(automaton: Automaton, read: Cells) -> NDArray[np.bool_]:
    """The states for which a byte does, or an end, whatever is counted."""
    close, room = automaton.state[:, 0].astype(np.int32), (automaton.state[:, 1] & 0xFF).astype(np.int32)
    counts = automaton.state[:, 2] > 0
    size = len(automaton.op)
    total, depth, needed = (np.zeros(size, np.int32) for _ in range(3))
    usable, popped = np.zeros(size, bool), np.zeros(size, bool)
    ends = automaton.delta[:, -1]
    for offset in np.unique(automaton.delta[:, :-1] >> 16).tolist():
        if offset == REJECT >> 16:
            continue
        actions = read.actions(offset)
        pushed = [argument for kind, argument in actions if kind == PUSH]
        usable[offset] = all(kind in (PUSH, POP) for kind, _ in actions) and not counts[pushed].any()
        popped[offset] = actions[-1:] == ((POP, 0),)
        depth[offset] = len(pushed)
        total[offset] = close[pushed].sum()
        needed[offset] = max((at + max(1, int(room[state])) for at, state in enumerate(pushed)), default=0)
    settled: NDArray[np.bool_] = ~counts & (close == 0) & (ends != REJECT) & (ends >> 16 == 0)
    for first in range(0, len(close), _ROWS):
        rows = slice(first, first + _ROWS)
        cells = automaton.delta[rows, :-1]
        shift = (cells != REJECT) & (cells & 0xFFFF != RETURN)
        act = np.where(shift, cells >> 16, 0)
        stays = shift & ~popped[act]
        goal = np.where(stays, cells & 0xFFFF, 0)
        after = 1 + total[act] + np.where(stays, close[goal], 0)
        frames = np.maximum(needed[act], depth[act] + np.where(stays, room[goal], 0))
        falls = shift & usable[act] & ~(stays & counts[goal])
        falls &= (after <= close[rows, None]) & (frames <= room[rows, None])
        settled[rows] |= falls.any(1) & ~counts[rows]
    return settled
