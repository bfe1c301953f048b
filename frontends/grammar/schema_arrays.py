"""Arrays of a schema: how many items, and what each is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.grammar import (
    EMPTY,
    MAX_REPETITIONS,
    NOTHING,
    Call,
    Counted,
    Expression,
    Literal,
    Repeat,
    optional,
    sequence,
    star,
)
from chimerac.frontends.grammar import json_text as jt
from chimerac.frontends.grammar.schema_parts import Part


def array(parts: Sequence[Part], value: Callable[[Sequence[Part]], Expression]) -> Expression:
    """Arrays for which all parts hold; ``value`` makes the expression of an item."""
    minimum, maximum = counts(parts, "minItems", "maxItems")
    if maximum is not None and minimum > maximum:
        return NOTHING
    said = [(part.listed_items, part.other_items) for part in parts]
    known = max((len(first) for first, _ in said), default=0)
    bounded = minimum > 0 or maximum is not None
    if not known and not bounded and all(rest is None for _, rest in said):
        return Call(jt.ANY_ARRAY)
    known = known if maximum is None else min(known, maximum)
    listed = [_item(said, index, value) for index in range(known)]
    # an item that cannot be ends the array before it
    known = next((index for index, item in enumerate(listed) if item == NOTHING), known)
    if known < len(listed):
        listed, maximum = listed[:known], known
    rest = NOTHING if maximum == known else _item(said, known, value)
    if rest == NOTHING and minimum > known:
        return NOTHING
    if known:
        return _tuple(listed, rest, minimum, maximum)
    return _list(rest, minimum, maximum)


def counts(parts: Sequence[Part], least: str, most: str) -> tuple[int, int | None]:
    """The tightest of two keywords that count; a most that is too large to be counted is the largest that can be."""
    minimum = max((int(part.schema.get(least, 0)) for part in parts), default=0)
    limits = [int(part.schema[most]) for part in parts if most in part.schema]
    if minimum > MAX_REPETITIONS:
        place = next(part.pointer for part in parts if part.schema.get(least, 0) == minimum)
        raise UserError("CHM282", f"schema at {place}/{least}: counts are supported up to {MAX_REPETITIONS:,}")
    return minimum, min([*limits, MAX_REPETITIONS]) if limits else None


def _item(
    said: Sequence[tuple[Sequence[Part], Part | None]], index: int, value: Callable[[Sequence[Part]], Expression]
) -> Expression:
    """What the item of an index is."""
    held = [first[index] if index < len(first) else rest for first, rest in said]
    parts = [part for part in held if part is not None]
    return value(parts) if parts else jt.ANY


def _list(item: Expression, minimum: int, maximum: int | None) -> Expression:
    """An array of items that are all alike."""
    opening, closing = sequence(Literal(b"["), jt.SPACES), Literal(b"]")
    if item == NOTHING:
        return sequence(opening, closing)
    item = sequence(item, jt.SPACES)
    if minimum or maximum is not None:
        return Counted(opening, item, jt.COMMA, closing, minimum, maximum)
    return sequence(opening, optional(sequence(item, star(sequence(jt.COMMA, item)))), closing)


def _tuple(listed: Sequence[Expression], rest: Expression, minimum: int, maximum: int | None) -> Expression:
    """An array whose first items are known."""
    known = len(listed)
    tail: Expression = EMPTY
    if rest != NOTHING:
        more = sequence(jt.COMMA, rest, jt.SPACES)
        tail = Repeat(more, max(0, minimum - known), None if maximum is None else maximum - known)
    for index in reversed(range(known)):
        item = sequence(listed[index], jt.SPACES, tail)
        if index:
            item = sequence(jt.COMMA, item)
        tail = item if index < minimum else optional(item)
    return sequence(Literal(b"["), jt.SPACES, tail, Literal(b"]"))
