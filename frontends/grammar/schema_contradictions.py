"""Schemas that cannot hold together, seen without looking at what values are like: most cases of many conditions."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from chimerac.frontends.grammar.schema_facts import Document, comparable, type_names
from chimerac.frontends.grammar.schema_keywords import TYPES
from chimerac.frontends.grammar.schema_not import ruled_out
from chimerac.frontends.grammar.schema_parts import Part


def contradictory(document: Document, parts: Sequence[Part]) -> bool:
    """Whether some schemas leave no value: no type, or nothing for a property that an object must have."""
    types = frozenset(TYPES).intersection(*(type_names(part.schema) for part in parts))
    if not types:
        return True
    if types != {"object"}:
        return False
    required = {name for part in parts for name in part.schema.get("required", ())}
    document.budget.spend(len(parts) + len(required))
    return any(_nothing(document, parts, name) for name in sorted(required))


def _nothing(document: Document, parts: Sequence[Part], name: str) -> bool:
    """Whether fixed values of a property are apart, or it is forbidden."""
    left: frozenset[Hashable] | None = None
    out: set[Hashable] = set()
    for part in parts:
        if name not in part.schema.get("properties", ()):
            continue
        held = part.at("properties", name)
        if held.schema is False:
            return True
        if isinstance(held.schema, dict):
            document.check(held)
            fixed = document.fixed(held)
            left = left if fixed is None else fixed if left is None else left & fixed
            out |= {comparable(value) for value in ruled_out(held.schema)[1]}
    return left is not None and not left - out
