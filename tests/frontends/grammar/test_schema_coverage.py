"""Each kind of schema with values that it takes and values that it doesn't, as jsonschema and llguidance judge them."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import jsonschema
import pytest
from grammar_checks import guidance_matcher
from grammar_tools import accepts, byte_engine

from chimerac.frontends.grammar.schema import schema_grammar

PAIR = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 3}
STEP = {
    "type": "object",
    "properties": {"why": {"type": "string"}, "result": {"type": "string"}},
    "required": ["why", "result"],
    "additionalProperties": False,
}
TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            "required": ["name", "next"],
            "additionalProperties": False,
        }
    },
}


def shape(kind: str, coordinates: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"type": {"const": kind}, "at": coordinates},
        "required": ["type", "at"],
    }


#: A schema, values in it, values that are not; whitespace and the order of keys are the schema's.
KINDS: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "rows of numbers": (
        {"type": "array", "items": {**PAIR, "minItems": 3}, "minItems": 2, "maxItems": 2},
        [[[1, 2.5, 3], [-4, 5, 6e3]]],
        [[[1, 2, 3]], [[1, 2], [3, 4]], [[1, 2, 3], [4, 5, 6], [7, 8, 9]], [[1, 2, "3"], [4, 5, 6]]],
    ),
    "shapes on a map": (
        {"oneOf": [shape("Point", PAIR), shape("Path", {"type": "array", "items": PAIR, "minItems": 2})]},
        [{"type": "Point", "at": [7, 51.5]}, {"type": "Path", "at": [[1, 2], [3, 4, 5]]}],
        [{"type": "Point", "at": [[1, 2], [3, 4]]}, {"type": "Path", "at": [[1, 2]]}, {"type": "Area", "at": [1, 2]}],
    ),
    "steps to an answer": (
        {**STEP, "properties": {"steps": {"type": "array", "items": STEP}, "end": STEP["properties"]["why"]},  # type: ignore[index]
         "required": ["steps", "end"]},
        [{"steps": [], "end": ""}, {"steps": [{"why": "2 + 2", "result": "4"}], "end": "4"}],
        [{"steps": [{"why": "2 + 2"}], "end": "4"}, {"steps": []}, {"steps": [], "end": 4}],
    ),
    "null or a flag": (
        {"type": "object", "required": ["on"], "properties": {"on": {"type": ["null", "boolean"]}}},
        [{"on": None}, {"on": True}, {"on": False, "more": [1]}],
        [{}, {"on": 0}, {"on": "true"}],
    ),
    "an escape that is none": (
        {"type": "string", "pattern": "^stop\\!$"}, ["stop!"], ["stop", "stop\\!", "stop!!"],
    ),
    "anchors of one alternative each": (
        {"type": "string", "pattern": "^(<[a-z]+>)|([a-z]+)$"}, ["<a>", "<a>b", "ab", "1ab"], ["", "<1>", "ab1"],
    ),
    "a line of some length": (
        {"type": "string", "pattern": "^[^\\n\\r]{1,129}$"}, ["x", "é" * 129], ["", "a\nb", "x" * 130],
    ),
    "an address of some length": (
        {"type": "string", "format": "uri", "minLength": 1, "maxLength": 2083},
        ["https://example.org/a?b=c", "x:" + "y" * 2081],
        ["", "no address", "x:" + "y" * 2082],
    ),
    "a list of itself": (
        TREE, [{"name": "a", "next": {"name": "b", "next": None}}], [{"name": "a"}, {"next": None}, None],
    ),
    "names and the rest": (
        {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "boolean"}},
        [{}, {"a": 1}, {"a": 1, "b": True}, {"ab": False}],
        [{"a": True}, {"b": 1}],
    ),
    "one of some words": ({"enum": ["north", "south", 3, None]}, ["north", 3, None], ["nor", 4, False]),
    "bounded whole numbers": ({"type": "integer", "minimum": -3, "maximum": 120}, [-3, 0, 120], [-4, 121, 1.5, "1"]),
    "two parts": (
        {"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
                   {"properties": {"b": {"type": "string", "maxLength": 2}}, "required": ["b"]}]},
        [{"a": "x", "b": "yz"}], [{"a": "x"}, {"b": "y"}, {"a": "x", "b": "xyz"}],
    ),
    "a tuple": (
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False, "minItems": 2},
        [["a", 1]], [["a"], [1, "a"], ["a", 1, 2]],
    ),
    "many names that may be left out": (
        {"type": "object", "properties": {f"name_{i}": {"type": "integer"} for i in range(300)},
         "additionalProperties": False},
        [{}, {"name_0": 1}, {"name_1": 1, "name_10": 2, "name_299": 3}, {f"name_{i}": i for i in range(300)}],
        [{"name_300": 1}, {"name_": 1}, {"name_7": "x"}],
    ),
    "many words": (
        {"enum": [f"{i:04d}-{'ab'[i % 2]}" for i in range(3000)] + list(range(5000))},
        ["0000-a", "2999-b", 0, 4999], ["0000-b", "3000-a", 5000, "0000"],
    ),
    "a type ruled out": (
        {"not": {"type": ["null", "number", "object"]}}, ["a", True, []], [None, 1, 2.5, {}],
    ),
    "texts ruled out": (
        {"type": ["string", "boolean", "null"], "not": {"enum": ["", "none", "nöne", True, None]}},
        ["non", "nonee", "n", "é", False],
        ["", "none", "nöne", True, None],
    ),
    "a value ruled out of a list": ({"enum": ["a", [2], {"b": 3}], "not": {"const": [2]}}, ["a", {"b": 3}], [[2]]),
    "a name ruled out": (
        {"properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "not": {"required": ["a", "b"]}},
        [{}, {"a": 1}, {"b": 1}, {"c": 2}], [{"a": 1, "b": 2}, [], None],
    ),
    "names of keys ruled out": (
        {"type": "object", "propertyNames": {"not": {"enum": ["id", "key"]}}}, [{}, {"i": 1}, {"keys": 1}], [{"id": 1}],
    ),
}  # fmt: skip
#: What llguidance takes that the schema does not allow, or the other way round.
OTHERWISE = {"an escape that is none", "anchors of one alternative each", "an address of some length"}


def text_of(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize("name", KINDS)
def test_values_are_judged_as_by_others(name: str) -> None:
    schema, right, wrong = KINDS[name]
    validator = jsonschema.Draft202012Validator(schema)
    engine = byte_engine(schema_grammar(schema))
    judged = [(value, True) for value in right] + [(value, False) for value in wrong]
    for value, wanted in judged:
        if "format" not in schema:
            assert validator.is_valid(value) == wanted, value
        assert accepts(engine, text_of(value)) == wanted, value
    if importlib.util.find_spec("llguidance") is None or name in OTHERWISE:
        return
    if guidance_matcher(schema).is_error():
        return
    for value, wanted in judged:
        matcher = guidance_matcher(schema)
        taken = all(matcher.consume_token(byte) for byte in text_of(value).encode()) and matcher.is_accepting()
        assert taken == wanted, value
