"""Schemas as Zod, pydantic, OpenAPI and older drafts write them: accepted, and meaning what jsonschema says."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import jsonschema
import pytest
from grammar_tools import accepts, byte_engine, random_text

from chimerac.compiler.errors import UserError
from chimerac.frontends.grammar.schema import schema_grammar

UUID = "12345678-1234-4234-8234-123456789abc"
#: A schema, values in it, and values that are not.
STYLES: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "zod int": (
        {"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991},
        [0, -9007199254740991, 9007199254740991],
        [9007199254740992, -9007199254740992, 1.5],
    ),
    "snowflake": ({"type": "integer", "minimum": 10**18}, [10**18, 10**19 - 1], [10**18 - 1, 0, -(10**18)]),
    "u64": ({"type": "integer", "minimum": 0, "maximum": 2**64 - 1}, [0, 2**64 - 1], [2**64, -1]),
    "above 10**15": ({"type": "integer", "minimum": 10**15}, [10**15, 10**15 + 1, 10**17], [10**15 - 1]),
    "below -(2**63)": ({"type": "integer", "maximum": -(2**63)}, [-(2**63), -(2**63) - 1], [-(2**63) + 1, 0]),
    "30 digits": ({"minimum": 10**30}, [10**30, 10**30 + 1], [10**30 - 1, 0]),
    "between 0 and 1": ({"exclusiveMinimum": 0, "exclusiveMaximum": 1}, [0.5, 1e-9 + 0.1], [0, 1, -0.5]),
    "draft 4 bounds": (
        {"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": True, "maximum": 5,
         "exclusiveMaximum": False},
        [2, 5, 1.5], [1, 5.5],
    ),
    "draft 7 tuple": (
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "array",
         "items": [{"type": "integer"}, {"type": "string"}], "additionalItems": False, "minItems": 1},
        [[1], [1, "a"]], [[], ["a"], [1, "a", 2]],
    ),
    "draft 7 tuple, open": (
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}],
         "additionalItems": {"type": "null"}},
        [[], [1], [1, None, None]], [["a"], [1, 2]],
    ),
    "draft 7 reference": (
        {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"n": {"type": "integer"}},
         "properties": {"a": {"$ref": "#/definitions/n", "minimum": 5}}, "type": "object",
         "additionalProperties": False},
        [{"a": 1}, {}], [{"a": "x"}],
    ),
    "schemas with URIs of their own": (
        {"$id": "https://a.b/c/tree.json", "type": "array", "items": {"$ref": "node.json#/$defs/v"}, "minItems": 1,
         "$defs": {"n": {"$id": "/c/node.json", "anyOf": [{"$ref": "tree.json"}, {"type": "null"}],
                         "$defs": {"v": {"anyOf": [{"$ref": "#"}, {"$ref": "urn:x:flag#t"}]}}},
                   "f": {"$id": "urn:x:flag", "$defs": {"t": {"$anchor": "t", "type": "boolean"}}}}},
        [[None], [True, None], [[[False]], True]], [[], [1], [[[]]]],
    ),
    "a name that is no URI": (
        {"$ref": "#/$defs/x", "$defs": {"x": {"enum": [{"$id": "a"}], "type": "object"}, "y": {"$id": "a"}}},
        [{"$id": "a"}], [{"$id": "b"}, None],
    ),
    "anchor": (
        {"type": "array", "items": {"$ref": "#item"}, "$defs": {"x": {"$anchor": "item", "type": "boolean"}}},
        [[True]], [[1]],
    ),
    "percent in a reference": (
        {"$ref": "#/$defs/a%C3%A9%25b", "$defs": {"aé%b": {"type": "null"}}}, [None], [1]
    ),
    "zod record": (
        {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {"type": "number"}},
        [{}, {"a": 1}], [{"a": "x"}],
    ),
    "zod record of an enum": (
        {"type": "object", "propertyNames": {"type": "string", "enum": ["x", "y"]}, "required": ["x", "y"],
         "additionalProperties": {"type": "integer"}},
        [{"x": 1, "y": 2}], [{"x": 1}, {"x": 1, "y": 2, "z": 3}],
    ),
    "names by pattern": (
        {"type": "object", "propertyNames": {"pattern": "^[a-z]{2}$"}, "properties": {"ab": {"type": "null"}}},
        [{}, {"ab": None}, {"ab": None, "cd": 1}], [{"abc": 1}, {"ab": 1}, {"A": 1}],
    ),
    "names by length": (
        {"type": "object", "propertyNames": {"minLength": 1, "maxLength": 2}, "properties": {"abc": {}}},
        [{}, {"ab": None}], [{"abc": 1}, {"": 1}],
    ),
    "no names": ({"type": "object", "propertyNames": False}, [{}], [{"a": 1}]),
    "zod discriminated union": (
        {"oneOf": [
            {"type": "object", "properties": {"t": {"type": "string", "const": "a"}, "n": {"type": "number"}},
             "required": ["t", "n"], "additionalProperties": False},
            {"type": "object", "properties": {"t": {"type": "string", "const": "b"}}, "required": ["t"],
             "additionalProperties": False}]},
        [{"t": "a", "n": 1}, {"t": "b"}], [{"t": "a"}, {"t": "b", "n": 1}],
    ),
    "zod e-mail": (
        {"type": "string", "format": "email",
         "pattern": "^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+"
         "[A-Za-z]{2,}$"},
        ["a@b.co", "a.b@c.org"], [".a@b.co", "a..b@c.co", "a@b"],
    ),
    "zod uuid": (
        {"type": "string", "format": "uuid", "pattern": "^([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB]"
         "[0-9a-fA-F]{3}-[0-9a-fA-F]{12}|00000000-0000-0000-0000-000000000000)$"},
        [UUID], ["12345678-1234-0234-8234-123456789abc", ""],
    ),
    "zod base64": (
        {"type": "string", "format": "base64", "contentEncoding": "base64",
         "pattern": "^$|^(?:[0-9a-zA-Z+/]{4})*(?:(?:[0-9a-zA-Z+/]{2}==)|(?:[0-9a-zA-Z+/]{3}=))?$"},
        ["", "YQ==", "YWJj"], ["YQ=", "a"],
    ),
    "pydantic decimal": (
        {"anyOf": [{"type": "number"}, {"type": "string", "pattern": "^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$"}]},
        [1.5, "1.5", "-0001", ".5"], ["", "-", ".", "1.2.3", None],
    ),
    "pydantic model": (
        {"$defs": {"Cat": {"properties": {"kind": {"const": "cat", "title": "Kind", "type": "string"},
                                          "lives": {"default": 9, "title": "Lives", "type": "integer"}},
                           "required": ["kind"], "title": "Cat", "type": "object"},
                   "Dog": {"properties": {"kind": {"const": "dog", "title": "Kind", "type": "string"}},
                           "required": ["kind"], "title": "Dog", "type": "object"}},
         "properties": {"pet": {"discriminator": {"mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"},
                                                  "propertyName": "kind"},
                                "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}], "title": "Pet"},
                        "name": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}},
         "required": ["pet"], "title": "Owner", "type": "object"},
        [{"pet": {"kind": "cat", "lives": 3}}, {"pet": {"kind": "dog"}, "name": None}],
        [{"pet": {"kind": "cow"}}, {"name": "x"}, {"pet": {"kind": "cat", "lives": "x"}}],
    ),
    "pydantic url": (
        {"type": "object", "properties": {"u": {"format": "uri", "maxLength": 2083, "minLength": 1, "type": "string"}},
         "required": ["u"]},
        [{"u": "https://a.b/" + "c" * 2071}], [{"u": ""}, {"u": "https://a.b/" + "c" * 2072}],
    ),
    "pattern and length": (
        {"type": "object", "properties": {"note": {"type": "string", "pattern": "^[^\\n]*$", "maxLength": 4000}},
         "required": ["note"]},
        [{"note": ""}, {"note": "é" * 4000}], [{"note": "a\nb"}, {"note": "a" * 4001}],
    ),
    "pydantic tree": (
        {"$defs": {"Node": {"type": "object", "properties": {
            "v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}], "default": None},
            "many": {"type": "array", "items": {"oneOf": [{"$ref": "#/$defs/Node"}, {"type": "boolean"}]}}},
            "required": ["v"], "additionalProperties": False}}, "$ref": "#/$defs/Node"},
        [{"v": 1}, {"v": 1, "next": None}, {"v": 1, "next": {"v": 2, "many": [True, {"v": 3}]}}],
        [{}, {"v": 1, "next": 1}, {"v": 1, "many": [1]}],
    ),
    "lists in lists": (
        {"type": "array", "items": {"anyOf": [{"$ref": "#"}, {"allOf": [{"$ref": "#/$defs/n"}, {"minimum": 0}]}]},
         "$defs": {"n": {"type": "integer"}}},
        [[], [1, [2, []]]], [[-1], [["a"]], 1],
    ),
    "price": ({"type": "number", "multipleOf": 0.01, "minimum": 0}, [0, 1, 1.5, 19.99, 0.3], [0.001, -1, 1.999]),
    "halves": ({"type": "number", "multipleOf": 2.5}, [0, 2.5, -5, 7.5], [1, 2, 2.25, 0.5]),
    "whole halves": ({"type": "integer", "multipleOf": 0.5}, [0, 1, -7], [0.5, 1.5]),
    "fives": (
        {"type": "object", "properties": {"score": {"type": "integer", "multipleOf": 5}}, "required": ["score"],
         "additionalProperties": False, "patternProperties": {"^score$": {"type": "integer"}}},
        [{"score": 10}], [{"score": 7}, {"score": 5, "b": 1}],
    ),
    "at least one property": (
        {"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "additionalProperties": False,
         "minProperties": 1},
        [{"a": 1}, {"b": 1}, {"a": 1, "b": 2}], [{}, {"c": 1}],
    ),
    "two of three": (
        {"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "additionalProperties": False,
         "minProperties": 2, "maxProperties": 2},
        [{"a": 1, "b": 1}, {"a": 1, "c": 1}, {"b": 1, "c": 1}], [{}, {"a": 1}, {"a": 1, "b": 1, "c": 1}],
    ),
    "a map that is not empty": (
        {"type": "object", "additionalProperties": {"type": "null"}, "minProperties": 1, "maxProperties": 2},
        [{"a": None}, {"a": None, "b": None}], [{}, {"a": None, "b": None, "c": None}, {"a": 1}],
    ),
    "named, others, at most": (
        {"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"], "maxProperties": 2},
        [{"a": None}, {"a": None, "z": 1}], [{}, {"a": None, "y": 1, "z": 1}, {"z": 1}],
    ),
    "what needs another": (
        {"type": "object", "properties": {"card": {}, "address": {}}, "additionalProperties": False,
         "dependentRequired": {"card": ["address"]}},
        [{}, {"address": 1}, {"card": 1, "address": 1}], [{"card": 1}],
    ),
    "duration": (
        {"type": "string", "format": "duration"}, ["P1D", "PT5M", "P1Y2M3DT4H5M6S", "P2W"], ["P", "1D", "PT", "P1W2D"]
    ),
    "uri-reference": (
        {"type": "string", "format": "uri-reference"}, ["", "/a/b?c", "a/b", "//h/p", "http://x", "#f"], ["a b", ":x"]
    ),
    "json-pointer": ({"type": "string", "format": "json-pointer"}, ["", "/a~0b/~1"], ["a", "/~2", "/~"]),
    "OpenAPI number": ({"type": "integer", "format": "int32", "example": 5}, [1], [1.5]),
    "lone surrogates": (
        {"enum": ["ok", "\ud83d", "a\udc00b"]}, ["ok", "\ud83d", "a\udc00b"], ["?", "\ufffd", "a\udc01b"]
    ),
    "a key that is a lone surrogate": (
        {"type": "object", "properties": {"\ud800": {"type": "integer"}}, "required": ["\ud800"],
         "additionalProperties": False},
        [{"\ud800": 1}], [{}, {"\ufffd": 1}],
    ),
    "numbers of all sizes": (
        {"enum": [1e300, 1e-7, 123456789012345678901234567890, -0.0, 1e5]},
        [1e300, 1e-7, 123456789012345678901234567890, 0, 100000], [1, 1e299],
    ),
    "itself or nothing": ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, [None], [1, "a"]),
    "itself by a detour": (
        {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}, {"type": "null"}]},
                                        "b": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "integer"}]}}},
        [None, 1], ["a"],
    ),
    "one of few": (
        {"allOf": [{"anyOf": [{"type": "string", "maxLength": i + 3}, {"type": "null"}]} for i in range(12)]},
        [None, "abc"], ["abcd", 1],
    ),
    "a list in a list": (
        {"type": "array", "items": {"type": "array", "items": {"type": "integer"}, "minItems": 1}, "minItems": 2},
        [[[1], [2, 3]]], [[[1]], [[1], []]],
    ),
}  # fmt: skip
#: jsonschema has no end, or computes with doubles: values are judged by the table alone.
OWN = {"itself or nothing", "itself by a detour", "price"}


@pytest.mark.parametrize("name", STYLES)
def test_values(name: str) -> None:
    schema, inside, outside = STYLES[name]
    engine = byte_engine(schema_grammar(json.dumps(schema)), minimise=False, space_cap=1)
    oracle = jsonschema.validators.validator_for(schema)(schema)
    for value, fits in [*((value, True) for value in inside), *((value, False) for value in outside)]:
        if name not in OWN and "format" not in json.dumps(schema):
            assert oracle.is_valid(value) == fits, value
        alone = any("\ud800" <= sign <= "\udfff" for sign in json.dumps(value, ensure_ascii=False))
        assert accepts(engine, json.dumps(value, ensure_ascii=alone)) == fits, value


@pytest.mark.parametrize("name", STYLES)
def test_random_texts_are_valid(name: str) -> None:
    schema = STYLES[name][0]
    engine = byte_engine(schema_grammar(schema), minimise=False, space_cap=1)
    oracle = jsonschema.validators.validator_for(schema)(schema)
    generator = random.Random(name)
    for _ in range(6):
        text = random_text(engine, generator, generator.randrange(30), b'{}[]",:ab01.-x').decode()
        value = json.loads(text)
        assert name in OWN or oracle.is_valid(value), text


@pytest.mark.parametrize(
    ("schema", "order"),
    [
        (
            {"allOf": [{"$ref": "#/$defs/base"}, {"properties": {"b": {}}, "required": ["b"]}], "type": "object",
             "$defs": {"base": {"properties": {"a": {}}, "required": ["a"]}}},
            "ab",
        ),
        (
            {"allOf": [{"properties": {"b": {}}, "required": ["b"]}, {"$ref": "#/$defs/base"}], "type": "object",
             "$defs": {"base": {"properties": {"a": {}}, "required": ["a"]}}},
            "ba",
        ),
        ({"properties": {"b": {}}, "allOf": [{"properties": {"a": {}}}], "required": ["a", "b"], "type": "object"},
         "ba"),
        ({"allOf": [{"properties": {"a": {}}}], "properties": {"b": {}}, "required": ["b", "a"], "type": "object"},
         "ab"),
        (
            {"$ref": "#/$defs/base", "properties": {"c": {}, "a": {}}, "required": ["a", "b", "c"], "type": "object",
             "$defs": {"base": {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}}},
            "abc",
        ),
        (
            {"anyOf": [{"properties": {"a": {}}, "required": ["a"]}], "properties": {"b": {}}, "required": ["b"],
             "type": "object"},
            "ab",
        ),
    ],
)  # fmt: skip
def test_properties_come_in_the_order_in_which_they_appear(schema: Any, order: str) -> None:
    engine = byte_engine(schema_grammar(schema), minimise=False)
    for names in itertools.permutations(order):
        assert accepts(engine, json.dumps(dict.fromkeys(names, 1))) == ("".join(names) == order), names


def test_a_schema_without_a_value() -> None:
    for schema in ({"type": "string", "minLength": 5, "maxLength": 3}, {"type": "integer", "exclusiveMinimum": 0,
                                                                       "exclusiveMaximum": 1}):  # fmt: skip
        with pytest.raises(UserError) as caught:
            byte_engine(schema_grammar(schema))
        assert caught.value.code == "CHM284"
