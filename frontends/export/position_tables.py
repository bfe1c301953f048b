"""Tables with a row for each position: a text cannot be longer than they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chimerac.compiler.ir.module import Constant, Op, Value

#: Ops whose result has the elements of their first operand, in other places or more often.
_SAME = frozenset({"reshape", "broadcast", "transpose"})


@dataclass(frozen=True)
class _Place:
    """An integer: the position of the call, if ``position``, plus the number of the token in it, plus ``offset``."""

    position: bool
    token: bool
    offset: int


def with_contexts(ops: Sequence[Op], position: Value, constants: Mapping[str, Constant]) -> list[Op]:
    """The ops of a model, in which look-ups by the places of tokens say how many places their tables have.

    PyTorch refuses a place beyond the table; compiled, it would be the table's last row.
    """
    places = {position.name: _Place(True, False, 0)}
    found = []
    for op in ops:
        place = _place(op, places, constants)
        if place is not None:
            places[op.results[0].name] = place
        if op.name == "gather" and (ids := places.get(op.operands[1].name)) is not None and ids.position:
            rows = int(op.operands[0].type.shape[op.integer("axis")])
            op = replace(op, attributes={**op.attributes, "context": max(1, rows - ids.offset)})
        found.append(op)
    return found


def _place(op: Op, places: Mapping[str, _Place], constants: Mapping[str, Constant]) -> _Place | None:
    if op.name == "iota":
        return _Place(False, True, 0)
    if op.name == "constant":
        held = constants[op.text("name")]
        if held.type.dtype != "i32" or any(extent != 1 for extent in held.type.shape):
            return None
        return _Place(False, False, int(held.data.reshape(-1)[0]))
    if op.name in _SAME:
        return places.get(op.operands[0].name)
    if op.name not in ("int_add", "int_sub"):
        return None
    one, other = (places.get(operand.name) for operand in op.operands)
    if one is None or other is None:
        return None
    if op.name == "int_sub":
        return None if other.position or other.token else replace(one, offset=one.offset - other.offset)
    if (one.position and other.position) or (one.token and other.token):
        return None
    return _Place(one.position or other.position, one.token or other.token, one.offset + other.offset)
