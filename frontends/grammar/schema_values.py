"""Values against schemas: which values of an ``enum`` stay."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from chimerac.frontends.grammar.json_source import UnsupportedKeyword
from chimerac.frontends.grammar.number_ranges import Bounds
from chimerac.frontends.grammar.schema_facts import (
    Document,
    comparable,
    divisor,
    type_names,
    type_of,
)
from chimerac.frontends.grammar.schema_keywords import UNEVALUATED, is_number
from chimerac.frontends.grammar.schema_not import ruled_out
from chimerac.frontends.grammar.schema_parts import Part, decimal
from chimerac.frontends.grammar.schema_texts import accepts, pattern_dfa


def valid(document: Document, value: Any, part: Part) -> bool:
    """Whether a value is valid against a schema of the supported keywords."""
    return _Judge(document).valid(value, part)


class _Judge:
    """Judges values; a schema that asks itself about the same value is no reason for it to be valid."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._asked: set[tuple[int, str]] = set()

    def valid(self, value: Any, part: Part) -> bool:
        """Whether a value, which stays alive meanwhile, is valid against a schema."""
        self.document.budget.spend(6)
        if isinstance(part.schema, bool):
            return part.schema
        question = (id(value), part.pointer)
        if question in self._asked:
            return False
        self.document.check(part)
        for key in sorted(UNEVALUATED & part.schema.keys()):
            if isinstance(value, list | dict):
                message = "single arrays and objects cannot be judged by it"
                raise UnsupportedKeyword(
                    f"{part.pointer}/{key}", message, "take it out of what enum or const is beside"
                )
        self._asked.add(question)
        try:
            return self._joined(value, part) and self._own(value, part)
        finally:
            self._asked.remove(question)

    def _joined(self, value: Any, part: Part) -> bool:
        """Whether everything holds that other schemas say of the same value."""
        schema = part.schema
        if "$ref" in schema:
            if not self.valid(value, self.document.references.target(schema["$ref"], part.pointer + "/$ref")):
                return False
            if self.document.old:
                return True

        def options(key: str) -> Iterator[bool]:
            return (self.valid(value, part.at(key, index)) for index in range(len(schema.get(key, ()))))

        return (
            all(options("allOf"))
            and ("anyOf" not in schema or any(options("anyOf")))
            and ("oneOf" not in schema or sum(options("oneOf")) == 1)
            and _absent(value, ruled_out(schema)[2])
            and all(self.valid(value, other) for other in part.joined)
            and all(self.valid(value, other) for other in self._conditional(value, part))
        )

    def _conditional(self, value: Any, part: Part) -> Iterator[Part]:
        """The schemas that hold for a value under a condition that it meets."""
        if "if" in part.schema:
            key = "then" if self.valid(value, part.at("if")) else "else"
            if key in part.schema:
                yield part.at(key)
        for key in ("dependentSchemas", "dependencies"):
            for name, held in part.schema.get(key, {}).items() if isinstance(value, dict) else ():
                if name in value:
                    yield (
                        Part({"required": held}, f"{part.at(key, name).pointer}&required")
                        if isinstance(held, list)
                        else part.at(key, name)
                    )

    def _own(self, value: Any, part: Part) -> bool:
        """Whether a schema's own keywords hold."""
        if self.document.old and "$ref" in part.schema:
            return True
        if type_of(value) not in type_names(part.schema):
            return False
        fixed = self.document.fixed(part)
        if fixed is not None and comparable(value) not in fixed:
            return False
        if comparable(value) in map(comparable, ruled_out(part.schema)[1]):
            return False
        if is_number(value):
            return _number(value, part)
        if isinstance(value, str):
            return _string(self.document, value, part)
        if isinstance(value, list):
            return self._array(value, part)
        return not isinstance(value, dict) or self._object(value, part)

    def _array(self, value: list[Any], part: Part) -> bool:
        listed, rest = part.listed_items, part.other_items
        if not part.schema.get("minItems", 0) <= len(value) <= part.schema.get("maxItems", len(value)):
            return False
        if part.schema.get("uniqueItems") and len(set(map(comparable, value))) < len(value):
            return False
        held = ((item, listed[i] if i < len(listed) else rest) for i, item in enumerate(value))
        return all(one is None or self.valid(item, one) for item, one in held)

    def _object(self, value: dict[str, Any], part: Part) -> bool:
        schema = part.schema
        needed = set(schema.get("required", ()))
        for name, others in schema.get("dependentRequired", {}).items():
            needed |= set(others) if name in value else set()
        if needed - value.keys():
            return False
        if not schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", len(value)):
            return False
        if "propertyNames" in schema and not all(self.valid(name, part.at("propertyNames")) for name in value):
            return False
        return all(self.valid(item, one) for name, item in value.items() for one in _held(part, name))


def _absent(value: Any, names: list[str]) -> bool:
    """Whether one of some properties is absent, if any are named."""
    return not names or (isinstance(value, dict) and any(name not in value for name in names))


def _held(part: Part, name: str) -> list[Part]:
    """What a schema says of the property of a name."""
    schema = part.schema
    held = [part.at("properties", name)] if name in schema.get("properties", ()) else []
    for pattern in schema.get("patternProperties", ()):
        place = part.at("patternProperties", pattern)
        if pattern_dfa(pattern, place.pointer).accepts(name):
            held.append(place)
    if not held and "additionalProperties" in schema:
        held = [part.at("additionalProperties")]
    return held


def _number(value: Any, part: Part) -> bool:
    number = decimal(value)
    if not all(Bounds(low, None, out).holds(number) for low, out in part.bounds(low=True)):
        return False
    if not all(Bounds(None, high, False, out).holds(number) for high, out in part.bounds(low=False)):
        return False
    return "multipleOf" not in part.schema or (Fraction(number) / divisor(part.schema["multipleOf"])).denominator == 1


def _string(document: Document, value: str, part: Part) -> bool:
    schema = part.schema
    document.budget.spend(len(value) // 16)
    fits = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
    return fits and accepts(document, part, value)
