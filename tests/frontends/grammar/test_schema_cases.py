"""Schemas that hold under a condition, or of what is left: the texts are those that ``jsonschema`` finds valid."""

from __future__ import annotations

import itertools
import json
import random
import resource
from typing import Any

import jsonschema
import pytest
from grammar_tools import accepts, orders
from grammar_walks import Walker

from chimerac.frontends.grammar.schema import schema_grammar
from chimerac.passes.grammar_fst import GrammarFst

_KIND: dict[str, Any] = {"properties": {"kind": {"const": "a"}}}
_WITH: dict[str, Any] = {**_KIND, "required": ["kind"]}
_BASE: dict[str, Any] = {
    "type": "object",
    "properties": {"kind": {"enum": ["a", "b"]}, "v": {}, "w": {}},
    "additionalProperties": False,
}
_THEN: dict[str, Any] = {"properties": {"v": {"type": "integer"}}, "required": ["v"]}
_ELSE: dict[str, Any] = {"properties": {"v": {"type": "string"}}}
SCHEMAS: list[Any] = [
    {**_BASE, "if": _KIND, "then": _THEN, "else": _ELSE},
    {**_BASE, "if": _WITH, "then": _THEN, "else": _ELSE},
    {**_BASE, "if": _WITH, "then": _THEN},
    {**_BASE, "if": _KIND, "else": _ELSE},
    {**_BASE, "if": {"properties": {"kind": {"enum": ["a", 1]}, "v": {"type": "string"}}}, "then": {"required": ["w"]}},
    {**_BASE, "if": {"required": ["kind", "v"]}, "then": {"required": ["w"]}},
    {**_BASE, "if": {"not": {"required": ["kind"]}}, "then": {"required": ["v"]}},
    {**_BASE, "if": True, "then": _THEN, "else": False},
    {**_BASE, "if": False, "then": _THEN, "else": _ELSE},
    {**_BASE, "then": _THEN},
    {**_BASE, "if": {"properties": {"v": {"properties": {"a": {"const": 1}}, "required": ["a"]}}}, "else": _WITH},
    {"if": {"type": "string"}, "then": {"minLength": 1}, "else": {"type": ["integer", "object"]}},
    {"if": {"type": "object"}, "then": {"required": ["kind"]}},
    {"if": {"minimum": 2}, "then": {"enum": [2, "x"]}, "else": {"type": ["number", "null"]}},
    {"type": "integer", "if": {"minimum": 2, "maximum": 5}, "then": {"multipleOf": 2}, "else": {"maximum": 100}},
    {
        "type": ["integer", "null"],
        "if": {"enum": [1, 3, None]},
        "then": {"not": {"const": None}},
        "else": {"minimum": 2},
    },
    {"type": ["string", "array"], "if": {"minLength": 1, "maxItems": 1}, "else": {"type": "array", "minItems": 3}},
    {**_BASE, "dependentSchemas": {"v": {"properties": {"w": {"type": "integer"}}, "required": ["w"]}}},
    {"dependentSchemas": {"v": {"required": ["w"]}, "kind": {"type": "object", **_ELSE}}},
    {"enum": [{"kind": "a"}, {"kind": "a", "v": 1}, {"kind": "b"}, {"v": 0}], "if": _WITH, "then": _THEN},
    {
        "enum": [{"v": 1}, {"v": 1, "w": 2}, {"w": 2}],
        "dependentSchemas": {"v": {"required": ["w"]}, "w": {"required": ["v"]}},
    },
    {"$schema": "http://json-schema.org/draft-07/schema#", **_BASE, "dependencies": {"v": ["w"], "w": _WITH}},
]
_OPEN: dict[str, Any] = {"type": "object", "properties": {"kind": {"enum": ["a", "b"]}}}
_NO_OTHER: dict[str, Any] = {"unevaluatedProperties": False}
SCHEMAS += [
    {**_OPEN, **_NO_OTHER},
    {**_OPEN, "allOf": [{"properties": {"v": {}}}], **_NO_OTHER},
    {
        **_NO_OTHER,
        "allOf": [_OPEN, {"$ref": "#/$defs/v"}],
        "required": ["w"],
        "$defs": {"v": {"properties": {"v": {}, "w": {}}}},
    },
    {**_OPEN, "allOf": [{"properties": {"v": {}}, **_NO_OTHER}]},
    {**_OPEN, "allOf": [{"properties": {"v": {}}, "additionalProperties": {"type": "string"}}], **_NO_OTHER},
    {**_OPEN, "allOf": [{"properties": {"v": {}}, "unevaluatedProperties": {"type": "string"}}], **_NO_OTHER},
    {**_OPEN, "required": ["w"], "unevaluatedProperties": {"type": "integer"}},
    {**_OPEN, **_NO_OTHER, "oneOf": [_WITH, {"properties": {"kind": {"const": "b"}, "v": {}}, "required": ["kind"]}]},
    {"anyOf": [{**_OPEN, **_NO_OTHER}, {"type": "integer"}]},
    {"type": "object", "properties": {"v": {**_OPEN, **_NO_OTHER}}, **_NO_OTHER},
    {"type": "array", "prefixItems": [{}], "unevaluatedItems": False},
    {
        "type": "array",
        "allOf": [{"prefixItems": [{}, {}]}],
        "prefixItems": [{}],
        "unevaluatedItems": {"type": "integer"},
    },
    {"type": "array", "allOf": [{"items": {"type": "integer"}}], "unevaluatedItems": False},
    {"type": "array", "unevaluatedItems": {"type": "integer"}},
]
_UNIQUE: dict[str, Any] = {"type": "array", "uniqueItems": True}
SCHEMAS += [
    {**_UNIQUE, "items": {"enum": [1, "a", 2, 1.0, [1]]}},
    {**_UNIQUE, "items": {"enum": [1, "a", 2, "b"]}, "minItems": 2, "maxItems": 2},
    {**_UNIQUE, "items": {"enum": list(range(20))}, "maxItems": 2},
    {**_UNIQUE, "items": {"type": ["boolean", "null"]}, "minItems": 1},
    {"type": "array", "items": {"enum": [1, 2, "a"]}, "allOf": [{"uniqueItems": True, "items": {"type": "integer"}}]},
    {"enum": [[], [1, 1], [1, "a"], [1, "a", 1]], "uniqueItems": True},
    {**_UNIQUE, "maxItems": 1},
    {**_UNIQUE, "items": {"const": 1}, "maxItems": 5},
]
_VALUES: list[Any] = [
    "a",
    "x",
    "",
    1,
    2,
    3,
    4,
    7,
    True,
    None,
    1.5,
    [],
    [1],
    ["a"],
    [1, "a"],
    ["a", 1],
    [1, "a", 2],
    [1, 1],
    [1, 2],
    [1, 2, 1],
    [True, None],
    {},
]
_VALUES += [
    dict(zip(names, held, strict=True))
    for count in (1, 2, 3)
    for names in itertools.combinations(("kind", "v", "w"), count)
    for held in itertools.product(("a", "b", 1, {"a": 1}), repeat=count)
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_conditions_mean_what_jsonschema_says(schema: Any) -> None:
    walker = Walker(GrammarFst(minimise=False).compile(schema_grammar(schema)))
    judge = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)(schema)
    for value in _VALUES:
        written = (json.dumps(one, separators=(",", ":")) for one in orders(value))
        assert any(accepts(walker.engine, text) for text in written) == judge.is_valid(value), value
    shortest = walker.engine.closing(walker.engine.start())
    for _ in range(40):
        text = walker.text(random.Random(random.random()), max(60, shortest + 30))
        assert judge.is_valid(json.loads(text)), text


def _kinds(count: int) -> dict[str, Any]:
    kinds = [f"kind {number}" for number in range(count)]
    types = itertools.cycle(["integer", "string", "null"])
    rules = [
        {"if": {"properties": {"k": {"const": kind}}}, "then": {"properties": {"v": {"type": name}}, "required": ["v"]}}
        for kind, name in zip(kinds, types, strict=False)
    ]
    return {
        "type": "object",
        "properties": {"k": {"enum": kinds}, "v": {}},
        "additionalProperties": False,
        "allOf": rules,
    }


def test_a_case_for_each_of_many_kinds() -> None:
    schema = _kinds(40)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    engine = Walker(GrammarFst(minimise=False).compile(schema_grammar(schema))).engine
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
    for number, kind in enumerate(schema["properties"]["k"]["enum"]):
        for index, value in enumerate((1, "x", None)):
            text = json.dumps({"k": kind, "v": value}, separators=(",", ":"))
            assert accepts(engine, text) == (number % 3 == index)
    assert not accepts(engine, '{"k":"kind 0"}')
