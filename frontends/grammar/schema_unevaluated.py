"""``unevaluatedProperties`` and ``unevaluatedItems``: what a schema says of what nothing in it is about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from chimerac.frontends.grammar.json_source import UnsupportedKeyword
from chimerac.frontends.grammar.schema_facts import Group
from chimerac.frontends.grammar.schema_keywords import UNEVALUATED
from chimerac.frontends.grammar.schema_parts import Part


def said_of_the_rest(parts: Sequence[Part]) -> Iterator[Part]:
    """Schemas that say what the keywords do, without them, for plain schemas that hold together.

    Raises UnsupportedKeyword beside patterns of names.
    """
    for part in parts:
        scope = [one for one in parts if one.pointer == part.pointer or part.pointer in one.within]
        if "unevaluatedProperties" in part.schema:
            said = any(
                "additionalProperties" in one.schema or _inner(one, part, "unevaluatedProperties") for one in scope
            )
            names = dict.fromkeys(name for one in scope for name in one.schema.get("properties", ()))
            if any("patternProperties" in one.schema for one in scope):
                hint = "use additionalProperties, beside all properties"
                raise UnsupportedKeyword(part.pointer + "/unevaluatedProperties", "not beside patternProperties", hint)
            if not said:
                schema: dict[str, Any] = {"properties": dict.fromkeys(names, True)}
                schema["additionalProperties"] = part.schema["unevaluatedProperties"]
                yield Part(schema, part.pointer + "&unevaluated")
        if "unevaluatedItems" in part.schema:
            known = max(len(one.listed_items) for one in scope)
            if all(one.other_items is None and not _inner(one, part, "unevaluatedItems") for one in scope):
                schema = {"prefixItems": [True] * known} if known else {}
                yield Part({**schema, "items": part.schema["unevaluatedItems"]}, part.pointer + "&unevaluated items")


def _inner(one: Part, part: Part, key: str) -> bool:
    """Whether another schema than ``part`` has a keyword: then that has said something of the rest."""
    return one.pointer != part.pointer and key in one.schema


def check_choice(parts: Sequence[Part], group: Group) -> None:
    """Raise UnsupportedKeyword for alternatives that may hold together, in a schema that says something of the rest.

    What one of them is about is then known of all that hold only.
    """
    if group.exclusive:
        return
    for part in parts:
        for key in sorted(UNEVALUATED & part.schema.keys()):
            if part.pointer in group.within:
                message = f"not beside alternatives that may hold together, as at {group.pointer}"
                raise UnsupportedKeyword(f"{part.pointer}/{key}", message, "use oneOf, or name everything in each")
