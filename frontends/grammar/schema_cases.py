"""Schemas that hold under a condition, as alternatives: ``if``, ``dependentSchemas`` and others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chimerac.frontends.grammar.json_source import escape
from chimerac.frontends.grammar.schema_keywords import ANNOTATIONS, TYPES
from chimerac.frontends.grammar.schema_not import ruled_out
from chimerac.frontends.grammar.schema_opposite import opposites
from chimerac.frontends.grammar.schema_parts import Part

#: Keywords that bring alternatives, in the order in which these come after all others.
CONDITIONS = ("dependentRequired", "dependentSchemas", "dependencies", "not", "if")


def cases(part: Part, key: str) -> Iterator[tuple[str, tuple[Part, ...]]]:
    """The place of each choice that a keyword of ``CONDITIONS`` brings, and its alternatives.

    Raises UnsupportedKeyword for a condition that has no opposite.
    """
    if key == "if":
        yield part.pointer + "/if&cases", tuple(_branches(part))
    elif key == "not":
        place = part.pointer + "/not"
        said = [(name, {"type": "object", "properties": {name: False}}) for name in ruled_out(part.schema)[2]]
        without = tuple(Part(schema, f"{place}/{escape(name)}") for name, schema in said)
        if without:
            yield place, without
    else:
        for name in part.schema[key]:
            held = part.at(key, name)
            if isinstance(held.schema, list):
                absent = Part({"properties": {name: False}}, held.pointer + "/absent")
                present = Part({"type": "object", "required": [name, *held.schema]}, held.pointer + "/present")
                yield held.pointer, (absent, present)
            else:
                yield held.pointer + "&cases", tuple(_dependent(held, name))


def _dependent(held: Part, name: str) -> Iterator[Part]:
    """The cases of a schema that holds for objects with a property of a name."""
    others, absent, present = _apart(name)
    yield Part(others, held.pointer + "&others")
    yield Part(absent, held.pointer + "&absent")
    yield Part({}, held.pointer + "&then", (Part(present, held.pointer + "&present"), held))


def _only_property(schema: Any) -> str | None:
    """The name of the property that a condition is about, if it says nothing else."""
    said = schema.keys() - ANNOTATIONS if isinstance(schema, dict) else set()
    names = schema["properties"] if said == {"properties"} else None
    return next(iter(names)) if isinstance(names, dict) and len(names) == 1 else None


def _apart(name: str) -> Iterator[dict[str, Any]]:
    """Other values than objects, objects without a property, and objects with it."""
    yield {"type": [kind for kind in TYPES if kind != "object"]}
    yield {"type": "object", "properties": {name: False}}
    yield {"type": "object", "required": [name]}


def _branches(part: Part) -> Iterator[Part]:
    """The cases of ``if``: with ``then``, and each way in which the condition doesn't hold with ``else``.

    A condition on one property holds without that, too: then many such conditions on it hold together, or one of them.
    """
    condition = part.at("if")
    then, other = ((part.at(key),) if key in part.schema else () for key in ("then", "else"))
    named = _only_property(condition.schema)
    if named is None:
        yield Part({}, condition.pointer + "&then", (condition, *then))
    else:
        for number, schema in enumerate(_apart(named)):
            held = Part(schema, f"{condition.pointer}&held/{number}")
            yield Part({}, f"{condition.pointer}&then/{number}", (condition, held, *then))
    for number, opposite in enumerate(opposites(condition)):
        yield Part({}, f"{condition.pointer}&else/{number}", (opposite, *other))
