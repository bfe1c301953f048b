"""Random schemas against jsonschema, in both directions: values that are valid, and texts that are generated."""

from __future__ import annotations

import json
import random
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

import jsonschema
import pytest
from grammar_tools import accepts, byte_engine, orders, random_text

from chimerac.compiler.errors import UserError
from chimerac.frontends.grammar.schema import schema_grammar

NAMES = ["a", "b", "ab", "x1", "é"]
LEAVES: list[Any] = [
    {"type": "string"}, {"type": "integer", "minimum": -5}, {"type": "integer", "minimum": 10**15}, True, {}, False,
    {"type": "number", "maximum": 2.5}, {"enum": [1, "a", None]}, {"enum": [[1], {"a": 1}, 1.5, True]}, {"const": []},
    {"type": "string", "minLength": 1, "maxLength": 3}, {"pattern": "^a"}, {"pattern": "b$"}, {"pattern": "^(?!a)"},
    {"type": "string", "pattern": "^[ab]+$", "maxLength": 2}, {"type": ["null", "boolean"]},
    {"type": "number", "multipleOf": 0.5}, {"type": "integer", "multipleOf": 3, "exclusiveMinimum": -2, "maximum": 999},
    {"type": "string", "format": "date"}, {"type": "string", "format": "uuid"}, {"type": "null"},
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, 1, 2, 3, 5, -1, 1.5, 2.5, 10**15, "", "a", "b", "ab", "aa", "x1", "é", "aaa", "2024-01-01",
]  # fmt: skip


def schema(generator: random.Random, depth: int = 0) -> Any:
    kind = generator.random()
    if depth > 2 or kind < 0.3:
        return generator.choice(LEAVES)
    if kind < 0.55:
        return object_schema(generator, depth)
    if kind < 0.7:
        return array_schema(generator, depth)
    if kind < 0.93:
        key, count = ("anyOf", 3) if kind < 0.8 else ("allOf", 2) if kind < 0.87 else ("oneOf", 2)
        return {key: [schema(generator, depth + 1) for _ in range(count)]}
    return {"$ref": generator.choice(["#/$defs/p", "#/$defs/q", "#"])}


def some(generator: random.Random, likely: float, made: dict[str, Any], key: str, value: Any) -> None:
    if generator.random() < likely:
        made[key] = value


def object_schema(generator: random.Random, depth: int) -> dict[str, Any]:
    names = generator.sample(NAMES, generator.randrange(4))
    made: dict[str, Any] = {"properties": {name: schema(generator, depth + 1) for name in names}}
    some(generator, 0.8, made, "type", "object")
    some(generator, 0.6, made, "required", generator.sample(NAMES, generator.randrange(3)))
    some(generator, 0.5, made, "additionalProperties", generator.choice([False, False, schema(generator, depth + 1)]))
    some(generator, 0.15, made, "patternProperties", {"^x": schema(generator, depth + 1)})
    some(generator, 0.15, made, "minProperties", generator.randrange(2))
    some(generator, 0.15, made, "maxProperties", generator.randrange(4))
    some(generator, 0.1, made, "propertyNames", generator.choice([{"pattern": "^[a-z]"}, {"enum": ["a", "b"]}]))
    some(generator, 0.1, made, "dependentRequired", {"a": ["b"]})
    return made


def array_schema(generator: random.Random, depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    some(generator, 0.8, made, "type", "array")
    some(generator, 0.7, made, "items", schema(generator, depth + 1))
    some(generator, 0.3, made, "prefixItems", [schema(generator, depth + 1) for _ in range(generator.randrange(1, 3))])
    some(generator, 0.4, made, "minItems", generator.randrange(3))
    some(generator, 0.4, made, "maxItems", generator.randrange(4))
    return made


def value(generator: random.Random, depth: int = 0) -> Any:
    kind = generator.random()
    if depth > 2 or kind < 0.55:
        return generator.choice(VALUES)
    if kind < 0.8:
        return {name: value(generator, depth + 1) for name in generator.sample(NAMES, generator.randrange(4))}
    return [value(generator, depth + 1) for _ in range(generator.randrange(4))]


class TooLarge(Exception):
    """A number that jsonschema cannot divide."""


def exact(number: str) -> int | Fraction:
    """A number as it is written; floats would make another one of it, or infinity."""
    try:
        found = Decimal(number)
    except InvalidOperation:  # its exponent has too many digits
        raise TooLarge from None
    if found and abs(found.adjusted()) > 300:
        raise TooLarge
    fraction = Fraction(found)
    return fraction.numerator if fraction.denominator == 1 else fraction


def is_valid(oracle: Any, value: Any) -> bool | None:
    """Whether jsonschema takes a value; None where a schema refers to itself for it without an end."""
    try:
        return bool(oracle.is_valid(value))
    except RecursionError:
        return None
    except BaseException as error:  # the limit may be met inside of rpds, whose panic is no Exception
        if type(error).__name__ != "PanicException":
            raise
        return None


def compare(seed: int, count: int) -> int:
    """The number of schemas that were accepted."""
    generator = random.Random(seed)
    accepted = 0
    for _ in range(count):
        made = schema(generator)
        made = {**(made if isinstance(made, dict) else {}), "$defs": {k: schema(generator, 1) for k in "pq"}}
        oracle = jsonschema.Draft202012Validator(made, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
        values = [value(generator) for _ in range(15)]
        try:
            engine = byte_engine(schema_grammar(made), minimise=False, space_cap=1)
        except UserError as error:
            refused = error.code
        else:
            refused = ""
        valid = [is_valid(oracle, one) for one in values]
        if None in valid:
            continue
        if refused:
            # what two of the alternatives share can be too much for one stack, or for the limits
            assert refused in ("CHM281", "CHM282", "CHM283") or not any(valid), made
            continue
        accepted += 1
        for one, right in zip(values, valid, strict=True):
            texts = (json.dumps(order, ensure_ascii=False) for order in orders(one))
            assert any(accepts(engine, text) for text in texts) == right, (made, one)
        for _ in range(4):
            text = random_text(engine, generator, generator.randrange(30), b'{}[]",:ab01.-x').decode()
            try:
                found = json.loads(text, parse_float=exact)
            except TooLarge:
                continue
            assert is_valid(oracle, found) is not False, (made, text)
    return accepted


def test_random_schemas() -> None:
    assert compare(1, 60) > 30


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 20))
def test_many_random_schemas(seed: int) -> None:
    assert compare(seed, 1000) > 500
