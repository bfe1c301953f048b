"""Values against schemas: which values of an ``enum`` stay, and which alternatives of ``oneOf`` can't hold together."""

from __future__ import annotations

import functools
from typing import Any

from chimerac.frontends.grammar import regex
from chimerac.frontends.grammar.character_dfa import CharacterDfa, of_regex
from chimerac.frontends.grammar.formats import FORMATS
from chimerac.frontends.grammar.number_ranges import Bounds
from chimerac.frontends.grammar.schema_facts import (
    TYPES,
    Document,
    Part,
    UnsupportedKeyword,
    decimal,
    is_number,
    same,
    type_names,
    type_of,
)


@functools.lru_cache(maxsize=256)
def _searched(pattern: str) -> CharacterDfa:
    return of_regex(regex.searched(regex.parse(pattern, "ecma")))


@functools.lru_cache(maxsize=32)
def _format(name: str) -> CharacterDfa:
    return of_regex(regex.anchored(regex.parse(FORMATS[name], "ecma")))


def valid(document: Document, value: Any, part: Part) -> bool:
    """Whether a value is valid against a schema of the supported keywords."""
    schema = part.schema
    if isinstance(schema, bool):
        return schema
    document.check(part)
    if "$ref" in schema and not valid(document, value, document.resolve(schema["$ref"], part.pointer + "/$ref")):
        return False
    if not all(valid(document, value, part.at("allOf", i)) for i in range(len(schema.get("allOf", ())))):
        return False
    if "anyOf" in schema and not any(valid(document, value, part.at("anyOf", i)) for i in range(len(schema["anyOf"]))):
        return False
    if "oneOf" in schema and sum(valid(document, value, part.at("oneOf", i)) for i in range(len(schema["oneOf"]))) != 1:
        return False
    if type_of(value) not in type_names(schema):
        return False
    if "enum" in schema and not any(same(value, other) for other in schema["enum"]):
        return False
    if "const" in schema and not same(value, schema["const"]):
        return False
    if is_number(value):
        return _number(value, schema)
    if isinstance(value, str):
        return _string(value, part)
    if isinstance(value, list):
        listed = schema.get("prefixItems", ())
        items = [
            part.at("prefixItems", i) if i < len(listed) else part.at("items")
            for i in range(len(value))
            if i < len(listed) or "items" in schema
        ]
        long_enough = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        return long_enough and all(valid(document, v, p) for v, p in zip(value, items, strict=False))
    return not isinstance(value, dict) or _object(document, value, part)


def _number(value: Any, schema: dict[str, Any]) -> bool:
    number = decimal(value)
    holds = Bounds(
        decimal(schema["minimum"]) if "minimum" in schema else None,
        decimal(schema["maximum"]) if "maximum" in schema else None,
    ).holds(number) and Bounds(
        decimal(schema["exclusiveMinimum"]) if "exclusiveMinimum" in schema else None,
        decimal(schema["exclusiveMaximum"]) if "exclusiveMaximum" in schema else None,
        True,
        True,
    ).holds(number)
    return holds and ("multipleOf" not in schema or number % decimal(schema["multipleOf"]) == 0)


def _string(value: str, part: Part) -> bool:
    schema = part.schema
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        return False
    if "pattern" in schema and not _searched(schema["pattern"]).accepts(value):
        return False
    if "format" not in schema:
        return True
    if schema["format"] not in FORMATS:
        raise UnsupportedKeyword(part.pointer + "/format", f"the format {schema['format']!r} is not supported")
    return _format(schema["format"]).accepts(value)


def _object(document: Document, value: dict[str, Any], part: Part) -> bool:
    schema = part.schema
    if any(name not in value for name in schema.get("required", ())):
        return False
    for name, item in value.items():
        held = [part.at("properties", name)] if name in schema.get("properties", ()) else []
        held += [
            part.at("patternProperties", p) for p in schema.get("patternProperties", ()) if _searched(p).accepts(name)
        ]
        if not held and "additionalProperties" in schema:
            held = [part.at("additionalProperties")]
        if not all(valid(document, item, one) for one in held):
            return False
    return True


def disjoint(document: Document, left: tuple[Part, ...], right: tuple[Part, ...]) -> bool:
    """Whether no value suits both sides: types, fixed values or bounds are apart, or those of a required property."""
    return _apart(document, left, right, 8)


def _apart(document: Document, left: tuple[Part, ...], right: tuple[Part, ...], depth: int) -> bool:
    first, second = document.flat(left), document.flat(right)
    if first.never or second.never:
        return True
    for flat, other in ((first, right), (second, left)):
        for group in flat.alternatives:
            if depth and all(_apart(document, (one,), other, depth - 1) for one in group):
                return True
    types_left, types_right = frozenset(TYPES), frozenset(TYPES)
    for part in first.plain:
        types_left &= type_names(part.schema)
    for part in second.plain:
        types_right &= type_names(part.schema)
    shared = types_left & types_right
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


def _bounds_apart(left: tuple[Part, ...], right: tuple[Part, ...]) -> bool:
    def ends(parts: tuple[Part, ...]) -> tuple[Any, Any]:
        low = max(
            (decimal(p.schema[k]) for p in parts for k in ("minimum", "exclusiveMinimum") if k in p.schema),
            default=None,
        )
        high = min(
            (decimal(p.schema[k]) for p in parts for k in ("maximum", "exclusiveMaximum") if k in p.schema),
            default=None,
        )
        return low, high

    def open_at(parts: tuple[Part, ...], key: str, value: Any) -> bool:
        return any(key in p.schema and decimal(p.schema[key]) == value for p in parts)

    for one, other in ((left, right), (right, left)):
        high, low = ends(one)[1], ends(other)[0]
        if high is not None and low is not None:
            touching = open_at(one, "exclusiveMaximum", high) or open_at(other, "exclusiveMinimum", low)
            if high < low or (high == low and touching):
                return True
    return False


def _property_apart(document: Document, left: tuple[Part, ...], right: tuple[Part, ...], depth: int) -> bool:
    """Whether a property that one side requires can't have a value that suits both."""
    required = {name for part in (*left, *right) for name in part.schema.get("required", ())}
    for name in sorted(required):
        sides = []
        for parts in (left, right):
            held = [p.at("properties", name) for p in parts if name in p.schema.get("properties", ())]
            held += [
                p.at("additionalProperties")
                for p in parts
                if "additionalProperties" in p.schema
                and name not in p.schema.get("properties", ())
                and "patternProperties" not in p.schema
            ]
            sides.append(tuple(held))
        if any(p.schema is False for side in sides for p in side):
            return True
        if all(sides) and _apart(document, sides[0], sides[1], depth - 1):
            return True
    return False
