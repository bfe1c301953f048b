"""Slots in finished tables: nothing else may begin where one does, or a text that was begun might have no end."""

from __future__ import annotations

from typing import Final

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.runtime.bundle_format.fstpack import FLAG_JSON_SLOTS, REJECT, SLOT_MARKS, Automaton

#: Bytes that nothing in a slot begins with: spaces and, in strings of JSON, the sign that ends them.
_SPACES: Final = frozenset((0x09, 0x0A, 0x0D, 0x20))
_END_OF_STRING: Final = 0x22


def check_slots(automaton: Automaton) -> None:
    """Raise UserError CHM283 where a slot and something else may stand at the same place."""
    if not automaton.slots:
        return
    marks = {kind: SLOT_MARKS[kind] for kind in automaton.slots}
    filled = automaton.delta != REJECT
    columns = automaton.classes.astype(np.int64)
    of_slot = np.stack([filled[:, columns[mark]] for mark in marks.values()])
    free = _SPACES | ({_END_OF_STRING} if automaton.flags & FLAG_JSON_SLOTS else set())
    others = [byte for byte in range(256) if byte not in free and byte not in marks.values()]
    mixed = of_slot.any(0) & (filled[:, columns[others]].any(1) | (of_slot.sum(0) > 1))
    if mixed.any():
        kind = automaton.slots[int(np.argmax(of_slot[:, np.argmax(mixed)]))]
        message = f"the grammar {automaton.name}: something else may stand where words of the {kind} do"
        raise UserError("CHM283", message, hint="let the alternatives begin with different signs, before the words")
