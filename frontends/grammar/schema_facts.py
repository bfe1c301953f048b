"""JSON Schemas taken apart: references and ``allOf`` followed, keywords checked, facts about one value gathered."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from chimerac.compiler.errors import UserError

TYPES: Final = ("object", "array", "string", "number", "integer", "boolean", "null")

#: Keywords that say nothing about which texts are valid.
ANNOTATIONS: Final = frozenset(
    {"$schema", "$comment", "$defs", "definitions", "title", "description", "default", "examples", "deprecated",
     "readOnly", "writeOnly", "contentMediaType", "contentEncoding"}
)  # fmt: skip
#: Keywords that are obeyed.
KEYWORDS: Final = frozenset(
    {"$ref", "$id", "type", "enum", "const", "allOf", "anyOf", "oneOf", "properties", "required",
     "additionalProperties", "patternProperties", "items", "prefixItems", "minItems", "maxItems", "minLength",
     "maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
     "uniqueItems"}
)  # fmt: skip
_MOST_REFERENCES: Final = 10_000


class UnsupportedKeyword(UserError):
    """A part of a schema that can't be obeyed; ``json_pointer`` says which."""

    def __init__(self, json_pointer: str, message: str, hint: str | None = None) -> None:
        super().__init__("CHM281", f"schema at {json_pointer or '/'}: {message}", hint=hint)
        self.json_pointer = json_pointer


class InvalidSchema(UserError):
    """A part of a schema that isn't one."""

    def __init__(self, json_pointer: str, message: str) -> None:
        super().__init__("CHM280", f"schema at {json_pointer or '/'}: {message}")
        self.json_pointer = json_pointer


@dataclass(frozen=True)
class Part:
    """A schema and where it lies in its document; equal parts lie at the same place."""

    schema: Any = field(compare=False, repr=False)
    pointer: str

    def at(self, *keys: str | int) -> Part:
        """A part of the part."""
        schema, pointer = self.schema, self.pointer
        for key in keys:
            schema = schema[key]
            pointer += "/" + escape(str(key))
        return Part(schema, pointer)


def escape(key: str) -> str:
    """A key as it stands in a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


@dataclass(frozen=True)
class Flat:
    """Schemas that all hold for one value, without references: ``plain``, alternatives, and ``never`` for false.

    ``referenced`` tells that a reference was followed, so that the value may contain itself.
    """

    plain: tuple[Part, ...]
    alternatives: tuple[tuple[Part, ...], ...]
    never: bool
    referenced: bool


class Document:
    """A schema document: finds what references mean, and checks every keyword it comes across."""

    def __init__(self, schema: Any) -> None:
        self.root = Part(schema, "")
        self._checked: set[str] = set()

    def resolve(self, reference: Any, pointer: str) -> Part:
        """The part that a ``$ref`` names, inside the document."""
        if not isinstance(reference, str):
            raise InvalidSchema(pointer, "$ref is not a string")
        own = self.root.schema.get("$id", "") if isinstance(self.root.schema, dict) else ""
        if own and reference.startswith(own.rstrip("#")):
            reference = "#" + reference[len(own.rstrip("#")) :].lstrip("#")
        if reference not in ("", "#") and not reference.startswith("#/"):
            hint = "references into the same document, such as #/$defs/name, are supported"
            raise UnsupportedKeyword(pointer, f"the reference {reference!r} is not supported", hint)
        found = self.root
        for key in reference.removeprefix("#").split("/")[1:]:
            name = _unquote(key).replace("~1", "/").replace("~0", "~")
            if isinstance(found.schema, dict) and name in found.schema:
                found = found.at(name)
            elif isinstance(found.schema, list) and name.isascii() and name.isdigit() and int(name) < len(found.schema):
                found = found.at(int(name))
            else:
                raise InvalidSchema(pointer, f"{reference!r} names nothing in the schema")
        return found

    def flat(self, parts: Sequence[Part]) -> Flat:
        """What some schemas say together."""
        plain: dict[str, Part] = {}
        groups: dict[str, tuple[Part, ...]] = {}
        seen: set[str] = set()
        queue = list(parts)
        never = referenced = False
        while queue:
            part = queue.pop(0)
            if part.pointer in seen:
                continue
            seen.add(part.pointer)
            if len(seen) > _MOST_REFERENCES:
                raise UserError("CHM282", "the schema joins too many parts")
            schema = part.schema
            if schema is True:
                continue
            if schema is False:
                never = True
                continue
            self.check(part)
            if "$ref" in schema:
                queue.append(self.resolve(schema["$ref"], part.pointer + "/$ref"))
                referenced = True
            queue += [part.at("allOf", i) for i in range(len(schema.get("allOf", ())))]
            for key in ("anyOf", "oneOf"):
                if key in schema:
                    group = part.at(key)
                    groups[group.pointer] = tuple(group.at(i) for i in range(len(schema[key])))
            plain[part.pointer] = part
        return Flat(tuple(plain.values()), tuple(groups.values()), never, referenced)

    def check(self, part: Part) -> None:
        """Raise InvalidSchema or UnsupportedKeyword for a schema's own keywords."""
        if part.pointer in self._checked:
            return
        self._checked.add(part.pointer)
        schema = part.schema
        if not isinstance(schema, dict):
            raise InvalidSchema(part.pointer, "a schema is an object, true or false")
        for key, value in schema.items():
            pointer = f"{part.pointer}/{escape(key)}"
            if key not in KEYWORDS | ANNOTATIONS:
                raise UnsupportedKeyword(
                    pointer, f"the keyword {key!r} is not supported", "docs/grammar.md lists what is"
                )
            problem = _problem(key, value)
            if problem:
                raise InvalidSchema(pointer, problem)
            if key == "uniqueItems" and value:
                raise UnsupportedKeyword(pointer, "uniqueItems is not supported")
            if key == "$schema" and (not isinstance(value, str) or "//json-schema.org/" not in value):
                raise UnsupportedKeyword(pointer, f"the dialect {value!r} is not supported", "leave $schema out")
            if key == "$id" and part.pointer:
                raise UnsupportedKeyword(pointer, "an $id inside a schema is not supported")


def _unquote(key: str) -> str:
    return re.sub(r"%([0-9A-Fa-f]{2})", lambda m: chr(int(m[1], 16)), key)


def is_number(value: object) -> bool:
    """Whether a JSON value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _problem(key: str, value: Any) -> str:  # noqa: C901  a check for each keyword
    """What is wrong with the value of a keyword; "" if nothing."""
    if key == "type":
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not names or not all(isinstance(n, str) and n in TYPES for n in names):
            return f"type is one of {', '.join(TYPES)}, or a list of them"
    elif key in ("allOf", "anyOf", "oneOf", "prefixItems"):
        if not isinstance(value, list) or not value:
            return f"{key} is a list of schemas"
    elif key in ("properties", "patternProperties"):
        if not isinstance(value, dict):
            return f"{key} is an object of schemas"
    elif key == "required":
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            return "required is a list of names"
    elif key == "enum":
        if not isinstance(value, list) or not value:
            return "enum is a list of values"
    elif key in ("minItems", "maxItems", "minLength", "maxLength"):
        if not is_number(value) or value < 0 or value != int(value):
            return f"{key} is a whole number, 0 or more"
    elif key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"):
        if not is_number(value) or value != value or value in (float("inf"), float("-inf")):
            return f"{key} is a number"
        if key == "multipleOf" and value <= 0:
            return "multipleOf is above 0"
    elif key in ("pattern", "format", "$id"):
        if not isinstance(value, str):
            return f"{key} is a string"
    elif key == "items" and isinstance(value, list):
        return "items is one schema; a list of them is called prefixItems"
    return ""


def decimal(value: int | float) -> Decimal:
    """A number of a schema, exactly as it is written in its shortest form."""
    return Decimal(value) if isinstance(value, int) else Decimal(repr(value))


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal: 1 and 1.0 are, 1 and true aren't."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if is_number(left) and is_number(right):
        return bool(left == right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return type(left) is type(right) and bool(left == right)


def type_names(schema: Mapping[str, Any]) -> frozenset[str]:
    """The types a schema's own ``type`` allows."""
    value = schema.get("type")
    if value is None:
        return frozenset(TYPES)
    names = {value} if isinstance(value, str) else set(value)
    return frozenset(names | ({"integer"} if "number" in names else set()))


def type_of(value: Any) -> str:
    """The type of a JSON value; whole numbers are integers."""
    if isinstance(value, bool):
        return "boolean"
    if value is None:
        return "null"
    if is_number(value):
        return "integer" if value == int(value) else "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"
