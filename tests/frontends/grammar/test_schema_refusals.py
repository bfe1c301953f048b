"""Schemas that are refused: by name and with the place, whether they cannot be obeyed, are none, or have no value."""

from __future__ import annotations

import json
from typing import Any

import pytest
from grammar_tools import accepts, byte_engine

from chimerac.compiler.errors import UserError
from chimerac.frontends.grammar.json_source import InvalidSchema, UnsupportedKeyword
from chimerac.frontends.grammar.schema import schema_grammar


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"not": {}}, "/not"),
        ({"properties": {"a/b": {"contains": {}}}}, "/properties/a~1b/contains"),
        ({"items": {"uniqueItems": True}}, "/items/uniqueItems"),
        ({"items": {"enum": list(range(9))}, "uniqueItems": True}, "/uniqueItems"),
        ({"items": {"anyOf": [{"const": 1}, {"const": 2}]}, "uniqueItems": True}, "/uniqueItems"),
        ({"prefixItems": [{"const": 1}], "items": {"const": 2}, "uniqueItems": True}, "/uniqueItems"),
        ({"minProperties": 2, "type": "object"}, "/minProperties"),
        ({"$dynamicRef": "#a"}, "/$dynamicRef"),
        ({"if": {"pattern": "a"}}, "/if/pattern"),
        ({"if": {"properties": {"a": {"type": "integer"}}}, "then": False}, "/if/properties/a/type"),
        ({"if": {"properties": {"a": {"const": [1]}}}, "then": False}, "/if/properties/a/const"),
        ({"if": {"exclusiveMinimum": True}}, "/if/exclusiveMinimum"),
        ({"if": {"minimum": 1, "exclusiveMinimum": True}}, "/if/minimum"),
        ({"minimun": 1}, "/minimun"),
        ({"propertyNames": {"anyOf": [{"const": "a"}, {"const": "b"}]}, "type": "object"}, "/propertyNames/anyOf"),
        ({"properties": {"a": {"$id": "https://a.b/c/", "$ref": "../d"}}}, "/properties/a/$ref"),
        ({"$ref": "#"}, ""),
        ({"oneOf": [{"type": "null"}, {"allOf": [{"type": "string"}, {"$ref": "#"}]}]}, ""),
        ({"patternProperties": {"^a": {}}, "unevaluatedProperties": False}, "/unevaluatedProperties"),
        ({"anyOf": [{"properties": {"a": {}}}, {}], "unevaluatedProperties": False}, "/unevaluatedProperties"),
        ({"enum": [{}], "unevaluatedProperties": False}, "/unevaluatedProperties"),
        (
            {"$defs": {"a": {}}, "allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a", "unevaluatedItems": False}]},
            "/allOf/1/unevaluatedItems",
        ),
        ({"if": {"type": "array"}, "unevaluatedItems": False}, "/unevaluatedItems"),
        ({"$ref": "other.json"}, "/$ref"),
        (
            {"$schema": "https://json-schema.org/draft/2020-12/schema", "dependencies": {"a": ["b"]}},
            "/dependencies",
        ),
        ({"$schema": "https://example.com/own"}, "/$schema"),
        ({"type": "string", "format": "regex"}, "/format"),
        ({"type": "string", "pattern": "(?<=a)b"}, "/pattern"),
        ({"type": "string", "pattern": r"\!\p{L}"}, "/pattern"),
        ({"type": "string", "pattern": "[\\w-.]😀?"}, "/pattern"),
        ({"type": "string", "pattern": "(?:(?=a).)*"}, "/pattern"),
        ({"type": "string", "pattern": "\\bword"}, "/pattern"),
        ({"multipleOf": 1e-20}, "/multipleOf"),
        ({"multipleOf": 100.1}, "/multipleOf"),
        ({"multipleOf": 1001}, "/multipleOf"),
        ({"oneOf": [{"minimum": 1}, {"maximum": 5}]}, "/oneOf/0"),
        ({"type": "object", "patternProperties": {"^a": {}, "b$": {}}}, "/patternProperties/^a"),
        ({"$defs": {"x": {"not": {}}}, "anyOf": [{"$ref": "#/$defs/x"}]}, "/$defs/x/not"),
    ],
)
def test_what_is_not_supported_is_named(schema: Any, pointer: str) -> None:
    with pytest.raises(UnsupportedKeyword) as caught:
        schema_grammar(schema)
    assert caught.value.code == "CHM281"
    assert caught.value.json_pointer == pointer


@pytest.mark.parametrize(
    "schema",
    [
        1,
        [],
        "[",
        "nul",
        {"type": "text"},
        {"type": []},
        {"anyOf": []},
        {"required": "a"},
        {"if": 3},
        {"if": {"type": 5}},
        {"unevaluatedProperties": 3},
        {"dependencies": {"a": 3}},
        {"dependentSchemas": []},
        {"enum": []},
        {"minLength": -1},
        {"maxItems": 1.5},
        {"multipleOf": 0},
        {"pattern": 1},
        {"items": [{}], "$schema": "https://json-schema.org/draft/2020-12/schema"},
        {"properties": []},
        {"properties": {"a": 1}},
        {"$ref": 1},
        {"$ref": "#/nowhere"},
        {"$ref": "a", "$defs": {"x": {"$id": "a"}, "y": {"items": {"$id": "a"}}}},
        {"$ref": "a#b", "$defs": {"x": {"$id": "a", "items": {"$id": "b", "$anchor": "b"}}}},
        {"minimum": "1"},
        {"allOf": [1]},
        {1: 2},
        {"const": {1, 2}},
        {"enum": (1, 2)},
        {"default": object()},
        5.5,
        None,
        "\ufeff",
    ],
)
def test_what_is_no_schema_is_an_error(schema: Any) -> None:
    with pytest.raises(UserError) as caught:
        schema_grammar(schema)
    assert caught.value.code == "CHM280"


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"allOf": [{"type": "string"}, {"type": "null"}]},
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"required": ["a"], "properties": {"a": False}, "type": "object"},
        {"type": "object", "required": ["x"], "properties": {"x": {"$ref": "#"}}},
    ],
)
def test_schemas_without_a_value(schema: Any) -> None:
    with pytest.raises(UserError) as caught:
        byte_engine(schema_grammar(schema))
    assert caught.value.code == "CHM284"


@pytest.mark.parametrize(
    ("text", "code", "pointer"),
    [
        ('{"const":NaN}', "CHM281", "/const"),
        ('{"enum":[1,-Infinity]}', "CHM281", "/enum/1"),
        ('{"enum":[1e400]}', "CHM281", "/enum/0"),
        ('{"properties":{"a/b":{"minimum":-1e999}}}', "CHM281", "/properties/a~1b/minimum"),
        ('{"default":NaN}', "CHM281", "/default"),
        ('{"maximum":' + "9" * 400 + "}", "CHM281", "/maximum"),
        ('{"maximum":' + "9" * 5000 + "}", "CHM281", "/maximum"),
        ('{"type":"string","type":"number"}', "CHM280", "/type"),
        ('{"items":{"properties":{"x":{},"y":{},"x":{}}}}', "CHM280", "/items/properties/x"),
        ('{"const":{"a":1,"a":1}}', "CHM280", "/const/a"),
        ('{"type":"string","pattern":"^[\\ud83d]$"}', "CHM281", "/pattern"),
        ('{"type":"int"}', "CHM280", "/type"),
        ('{"type":"string","pattern":"^[\\\\u00e9"}', "CHM281", "/pattern"),
        ('{"type":"string","pattern":"^****************,3}[0-9]+$"}', "CHM281", "/pattern"),
        ('{"type":"string","pattern":"^+[a-z]$"}', "CHM281", "/pattern"),
        ('{"$ref":"https://json-schema.org/draft/2020-12/schema"}', "CHM281", "/$ref"),
        ('{"$ref":"#/$defs/nope"}', "CHM280", "/$ref"),
        ('{"$ref":"#nope"}', "CHM280", "/$ref"),
        ('{"anyOf":[{"$anchor":"x"},{"$anchor":"x"}],"items":{"$ref":"#x"}}', "CHM280", "/anyOf/1"),
    ],
)
def test_places(text: str, code: str, pointer: str) -> None:
    with pytest.raises((UnsupportedKeyword, InvalidSchema)) as caught:
        schema_grammar(text)
    assert isinstance(caught.value, UnsupportedKeyword | InvalidSchema)
    assert (caught.value.code, caught.value.json_pointer) == (code, pointer)
    assert len(caught.value.render()) < 500


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400])
def test_numbers_of_python_that_json_has_no_text_for(value: Any) -> None:
    with pytest.raises(UnsupportedKeyword) as caught:
        schema_grammar({"enum": [1, value]})
    assert caught.value.json_pointer == "/enum/1"


def test_the_place_of_what_is_no_json() -> None:
    with pytest.raises(UserError) as caught:
        schema_grammar('{"type":\n "string",}')
    assert (caught.value.code, str(caught.value.span)) == ("CHM280", "<schema>:2:11")


def test_a_pattern_is_shown_with_its_place() -> None:
    with pytest.raises(UserError) as caught:
        schema_grammar({"type": "string", "pattern": "ab(?<=b)"})
    assert caught.value.span is not None
    assert caught.value.span.column == 3


def test_long_and_unprintable_names_are_cut_and_escaped() -> None:
    for name in ("\x1b[31m" * 50, "x" * 100_000, "\ud800" * 3, "a\nb"):
        with pytest.raises(UserError) as caught:
            schema_grammar({"properties": {name: {"not": {}}}, "type": "object"})
        shown = caught.value.render()
        assert len(shown) < 600
        assert all(sign.isprintable() or sign == "\n" for sign in shown)
        assert shown.count("\n") <= 1


def test_what_only_annotates_is_told() -> None:
    grammar = schema_grammar(
        {"type": "string", "x-order": 3, "madeUp": 1, "format": "password", "nullable": True, "title": "t"}
    )
    assert [note.split(":")[0] for note in grammar.notes] == [
        "schema at /x-order",
        "schema at /madeUp",
        "schema at /nullable",
        "schema at /format",
    ]
    assert schema_grammar({"title": "t", "examples": [1], "$comment": "c", "discriminator": {}}).notes == ()


def test_a_byte_order_mark_is_no_part_of_a_schema() -> None:
    assert accepts(byte_engine(schema_grammar("\ufeff" + json.dumps({"type": "null"}))), "null")
