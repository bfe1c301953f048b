"""Alternatives of ``oneOf`` that can't hold together."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from chimerac.frontends.grammar.schema_facts import Document, Endless, Flat, Group, type_names
from chimerac.frontends.grammar.schema_keywords import TYPES
from chimerac.frontends.grammar.schema_parts import Part
from chimerac.frontends.grammar.schema_values import valid

#: Levels of alternatives and properties that are looked into.
_DEPTH: Final = 8


def overlapping(document: Document, flat: Flat, group: Group) -> tuple[Part, Part] | None:
    """Two options of a group that may hold together beside all else in ``flat``; None if there are none."""
    told = _told_apart(document, group)
    sides = [(*_others(flat, group), option) for option in group.options]
    for index, one in enumerate(sides):
        for other_index in range(index + 1, len(sides)):
            other = sides[other_index]
            if told is not None and told[index].isdisjoint(told[other_index]):
                continue
            if not _apart(document, one, other, _DEPTH):
                return group.options[index], group.options[other_index]
    return None


def _others(flat: Flat, group: Group) -> tuple[Part, ...]:
    """What holds beside a group: schemas without their alternatives, at places of their own."""
    joining = {"$ref", "allOf", "anyOf", "oneOf"}
    return tuple(Part({k: v for k, v in p.schema.items() if k not in joining}, p.pointer + "#") for p in flat.plain)


def _told_apart(document: Document, group: Group) -> list[set[str]] | None:
    """For each option the texts of a property that all require, if one tells them apart: then pairs need no look."""
    held: list[dict[str, set[str]]] = []
    for option in group.options:
        try:
            plain = document.flat((option,)).plain
        except Endless:
            return None
        types = frozenset(TYPES).intersection(*(type_names(part.schema) for part in plain))
        required = {name for part in plain for name in part.schema.get("required", ())}
        found: dict[str, set[str]] = {}
        for part in plain:
            for name, inner in part.schema.get("properties", {}).items():
                if types == {"object"} and name in required and isinstance(inner, dict):
                    fixed = [inner["const"]] if "const" in inner else inner.get("enum")
                    if isinstance(fixed, list) and fixed and all(isinstance(value, str) for value in fixed):
                        found[name] = set(fixed)
        held.append(found)
    names = set(held[0]).intersection(*held[1:])
    return [one[min(names)] for one in held] if names else None


def _apart(document: Document, left: Sequence[Part], right: Sequence[Part], depth: int) -> bool:
    document.budget.spend(20)
    first, second = document.flat(left), document.flat(right)
    if first.never or second.never:
        return True
    for flat, other in ((first, right), (second, left)):
        for group in flat.groups:
            if depth and all(_apart(document, (one,), other, depth - 1) for one in group.options):
                return True
    shared = frozenset(TYPES).intersection(*(type_names(part.schema) for part in (*first.plain, *second.plain)))
    if not shared:
        return True
    for a, b in ((first.plain, right), (second.plain, left)):
        values = next((_fixed(part) for part in a if _fixed(part) is not None), None)
        if values is not None and not any(all(valid(document, v, p) for p in (*b, *a)) for v in values):
            return True
    if shared <= {"number", "integer"} and _bounds_apart(first.plain, second.plain):
        return True
    return shared == {"object"} and depth > 0 and _property_apart(document, first.plain, second.plain, depth)


def _fixed(part: Part) -> list[Any] | None:
    if "const" in part.schema:
        return [part.schema["const"]]
    found: list[Any] | None = part.schema.get("enum")
    return found


def _bounds_apart(left: Sequence[Part], right: Sequence[Part]) -> bool:
    def end(parts: Sequence[Part], *, low: bool) -> tuple[Decimal, bool] | None:
        found = [bound for part in parts for bound in part.bounds(low=low)]
        if not found:
            return None
        most = max(found)[0] if low else min(found)[0]
        return most, any(out for value, out in found if value == most)

    for one, other in ((left, right), (right, left)):
        high, low = end(one, low=False), end(other, low=True)
        if high is not None and low is not None and (high[0] < low[0] or (high[0] == low[0] and (high[1] or low[1]))):
            return True
    return False


def _property_apart(document: Document, left: Sequence[Part], right: Sequence[Part], depth: int) -> bool:
    """Whether a property that one side requires can't have a value that suits both."""
    required = {name for part in (*left, *right) for name in part.schema.get("required", ())}
    for name in sorted(required):
        sides = [_said(parts, name) for parts in (left, right)]
        if any(part.schema is False for side in sides for part in side):
            return True
        if all(sides) and _apart(document, sides[0], sides[1], depth - 1):
            return True
    return False


def _said(parts: Sequence[Part], name: str) -> tuple[Part, ...]:
    """What some schemas say of a property; patterns of names are left out."""
    held = [p.at("properties", name) for p in parts if name in p.schema.get("properties", ())]
    held += [
        p.at("additionalProperties")
        for p in parts
        if "additionalProperties" in p.schema
        and name not in p.schema.get("properties", ())
        and "patternProperties" not in p.schema
    ]
    return tuple(held)
