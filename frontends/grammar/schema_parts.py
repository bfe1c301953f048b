"""Schemas and where they lie in their document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from chimerac.frontends.grammar.json_source import escape
from chimerac.frontends.grammar.schema_keywords import is_number


@dataclass(frozen=True)
class Part:
    """A schema and where it lies in its document; equal parts lie at the same place.

    ``joined`` are other schemas that hold, too, ``within`` the places of the schemas that brought it, for the same
    value.
    """

    schema: Any = field(compare=False, repr=False)
    pointer: str
    joined: tuple[Part, ...] = field(default=(), compare=False, repr=False)
    within: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    def at(self, *keys: str | int) -> Part:
        """A part of the part."""
        schema, pointer = self.schema, self.pointer
        for key in keys:
            schema = schema[key]
            pointer += "/" + escape(str(key))
        return Part(schema, pointer)

    @property
    def listed_items(self) -> tuple[Part, ...]:
        """Schemas of the first items: ``prefixItems``, or ``items`` as a list, as it was up to draft 2019-09."""
        key = "prefixItems" if "prefixItems" in self.schema else "items"
        listed = self.schema.get(key)
        return tuple(self.at(key, i) for i in range(len(listed))) if isinstance(listed, list) else ()

    @property
    def other_items(self) -> Part | None:
        """The schema of all other items."""
        key = "additionalItems" if isinstance(self.schema.get("items"), list) else "items"
        return self.at(key) if key in self.schema else None

    def bounds(self, *, low: bool) -> Iterator[tuple[Decimal, bool]]:
        """Bounds of a number on one side, each with whether the bound itself is out."""
        key, open_key = ("minimum", "exclusiveMinimum") if low else ("maximum", "exclusiveMaximum")
        also = self.schema.get(open_key)
        if key in self.schema:
            yield decimal(self.schema[key]), also is True
        if is_number(also):
            yield decimal(also), True


def decimal(value: int | float) -> Decimal:
    """A number of a schema, exactly as it is written in its shortest form."""
    return Decimal(value) if isinstance(value, int) else Decimal(repr(value))
