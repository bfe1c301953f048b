"""Schemas against the package jsonschema: the grammar accepts the valid values and no others; the rest is an error."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from grammar_tools import accepts, byte_engine, orders, random_text
from hypothesis import given, settings
from hypothesis import strategies as st

from chimerac.frontends.grammar.number_ranges import Bounds, number_dfa
from chimerac.frontends.grammar.schema import schema_grammar


def agrees(schema: Any, values: list[Any]) -> None:
    engine = byte_engine(schema_grammar(schema), minimise=False)
    oracle = jsonschema.Draft202012Validator(schema)
    for value in values:
        found = any(accepts(engine, json.dumps(order, ensure_ascii=False)) for order in orders(value))
        assert found == oracle.is_valid(value), value


VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    2,
    3,
    5,
    7,
    10,
    42,
    100,
    -1,
    -7,
    1.5,
    -0.5,
    2.0,
    99.99,
    "",
    "a",
    "b",
    "ab",
    "abc",
    "é",
    "😀x",
    'a"b',
    "a\nb",
    "12",
    "x-1",
    "aaaa",
    "foo",
    [],
    [1],
    [1, 2],
    ["a"],
    [1, "a"],
    [[1]],
    [None, True, 2.5],
    [1, 2, 3, 4],
    [{}],
    [{"a": 1}],
    {},
    {"a": 1},
    {"a": "x"},
    {"b": 1},
    {"a": 1, "b": 2},
    {"a": {"a": 1}},
    {"ab": 1},
    {"c": None},
    {"a": [1, 2]},
    {"a": 1, "c": 3},
    {"kind": "x", "n": 1},
    {"kind": "y", "s": "t"},
    {"kind": "x", "s": "t"},
    {'a"': 1},
    {"é": 1},
    {"x1": 1, "x2": "b"},
    {"a": {"b": {"a": 1}}},
]
SCHEMAS: list[Any] = [
    True,
    {},
    {"type": "string"},
    {"type": ["null", "integer"]},
    {"type": "number"},
    {"type": "object"},
    {"type": "array"},
    {"const": 1},
    {"const": {"a": 1}},
    {"const": [1, "a"]},
    {"enum": [1, "a", None, [], {"a": "x"}]},
    {"enum": [1, 2, "a"], "type": "integer"},
    {"enum": ["a", "abc"], "minLength": 2},
    {"const": True},
    {"enum": [0, False]},
    {"enum": ['a"b', "é"]},
    {"minimum": 2},
    {"exclusiveMinimum": 2},
    {"maximum": 7},
    {"exclusiveMaximum": 7},
    {"minimum": -1, "maximum": 1.5},
    {"type": "integer", "minimum": -7, "exclusiveMaximum": 42},
    {"type": "integer", "multipleOf": 7},
    {"multipleOf": 5, "minimum": 3},
    {"type": "number", "minimum": 0.5, "maximum": 99.99},
    {"minLength": 2},
    {"maxLength": 1},
    {"minLength": 1, "maxLength": 3},
    {"type": "string", "maxLength": 0},
    {"pattern": "^a"},
    {"pattern": "b$"},
    {"pattern": "a|b"},
    {"pattern": "^(foo|a+)$", "maxLength": 3},
    {"pattern": "^[^a]"},
    {"pattern": "\\d"},
    {"pattern": "a", "allOf": [{"pattern": "b"}]},
    {"pattern": "^a\\nb$"},
    {"pattern": '"'},
    {"minItems": 2},
    {"maxItems": 1},
    {"minItems": 1, "maxItems": 3, "items": {"type": "integer"}},
    {"items": {"type": "string"}},
    {"prefixItems": [{"type": "integer"}, {"type": "string"}]},
    {"prefixItems": [{"const": 1}], "items": False},
    {"prefixItems": [True], "minItems": 2, "items": {"type": "integer"}},
    {"prefixItems": [True, True], "maxItems": 1},
    {"items": False},
    {"maxItems": 0},
    {"properties": {"a": {"type": "integer"}}},
    {"properties": {"a": {}, "b": {}}, "required": ["b"]},
    {"required": ["a"]},
    {"properties": {"a": {"type": "integer"}}, "additionalProperties": False},
    {"additionalProperties": {"type": "integer"}},
    {"properties": {"ab": {}, "a": {"type": "string"}}, "additionalProperties": {"type": "number"}},
    {"properties": {"a": False}},
    {"properties": {'a"': {"type": "string"}}},
    {"properties": {"é": {"type": "string"}}},
    {"patternProperties": {"^x": {"type": "integer"}}},
    {"patternProperties": {"^x[0-9]$": {"type": "integer"}}, "additionalProperties": False},
    {
        "properties": {"x1": {"minimum": 0}},
        "patternProperties": {"^x": {"type": "integer"}},
        "additionalProperties": {"type": "string"},
    },
    {"anyOf": [{"type": "string", "maxLength": 1}, {"type": "integer", "minimum": 5}]},
    {"anyOf": [{"minLength": 2}, {"maxLength": 1}]},
    {
        "anyOf": [
            {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"a": {"type": "string"}}, "required": ["a"]},
        ]
    },
    {"oneOf": [{"type": "string"}, {"type": "object"}]},
    {"oneOf": [{"type": "integer", "maximum": 2}, {"type": "integer", "minimum": 3}]},
    {
        "oneOf": [
            {"properties": {"kind": {"const": "x"}, "n": {"type": "integer"}}, "required": ["kind"]},
            {"properties": {"kind": {"const": "y"}, "s": {"type": "string"}}, "required": ["kind"]},
        ],
        "type": "object",
    },
    {"allOf": [{"minimum": 2}, {"maximum": 5}, {"type": "integer"}]},
    {"allOf": [{"properties": {"a": {"minimum": 1}}}, {"properties": {"a": {"maximum": 1}}, "required": ["a"]}]},
    {"allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"anyOf": [{"minimum": 3}, {"minLength": 3}]}]},
    {"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}},
    {"properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}, "additionalProperties": False},
    {
        "type": "array",
        "items": {"$ref": "#/$defs/a~1b"},
        "$defs": {"a/b": {"type": ["integer", "array"], "items": {"$ref": "#/$defs/a~1b"}}},
    },
    {"$ref": "#/$defs/n", "minimum": 5, "$defs": {"n": {"type": "number"}}},
    {"title": "t", "description": "d", "default": 1, "examples": [1], "$comment": "c", "type": "integer"},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda s: json.dumps(s)[:60])
def test_schemas_mean_what_jsonschema_says(schema: Any) -> None:
    agrees(schema, VALUES)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda s: json.dumps(s)[:60])
def test_random_texts_are_valid(schema: Any) -> None:
    engine = byte_engine(schema_grammar(schema), minimise=False)
    oracle = jsonschema.Draft202012Validator(schema)
    generator = random.Random(4)
    for _ in range(12):
        text = random_text(engine, generator, generator.randrange(40), b'{}[]",:ab01.-x')
        value = json.loads(text.decode("utf-8"))
        assert oracle.is_valid(value), text


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    st.decimals(-1200, 1200, places=2),
    st.decimals(-1200, 1200, places=1),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.lists(
        st.one_of(st.decimals(-1300, 1300, places=2), st.integers(-1300, 1300).map(Decimal)), min_size=8, max_size=8
    ),
)
def test_bounds_of_numbers(
    low: Decimal, high: Decimal, low_open: bool, high_open: bool, integer: bool, values: list[Decimal]
) -> None:
    bounds = Bounds(low, high, low_open, high_open)
    dfa = number_dfa(bounds, integer=integer)
    near = [edge + step for edge in (low, high) for step in map(Decimal, ("0", "0.01", "-0.01", "1", "-1"))]
    for value in [*values, *near]:
        text = format(value, "f")
        whole = value == value.to_integral_value()
        if integer and whole:
            text = str(int(value))
        assert dfa.accepts(text) == (bounds.holds(value) and (whole or not integer)), text
        if not integer and "." in text:
            assert dfa.accepts(text + "000") == dfa.accepts(text)


@pytest.mark.parametrize("multiple", [1, 2, 3, 7, 10, 25, 999, 1000])
def test_multiples(multiple: int) -> None:
    dfa = number_dfa(Bounds(), integer=True, multiple=multiple)
    for value in [*range(-30, 31), 100, 250, 999, 1000, 1998, 2000, 123456789, 999_999_999_999_999]:
        assert dfa.accepts(str(value)) == (value % multiple == 0)


def test_bounded_numbers_have_no_exponents_and_20_digits() -> None:
    free, whole = byte_engine(schema_grammar({"type": "number"})), byte_engine(schema_grammar({"type": "integer"}))
    bounded = byte_engine(schema_grammar({"type": "number", "minimum": 0}))
    assert [accepts(e, "1e30") for e in (free, whole, bounded)] == [True, False, False]
    assert [accepts(e, "1" * 20) for e in (free, whole, bounded)] == [True, True, True]
    assert [accepts(e, "1" * 21) for e in (free, whole, bounded)] == [True, True, False]
    assert [accepts(e, "0." + "1" * 15) for e in (free, whole, bounded)] == [True, False, True]
    assert [accepts(e, "0." + "1" * 16) for e in (free, whole, bounded)] == [True, False, False]
    assert [accepts(e, "3.0") for e in (free, whole, bounded)] == [True, True, True]


LENGTHS = [
    ('"\\ud83d\\ude00"', 1),
    ('"\\u00e9\\n\\\\"', 3),
    ('"😀"', 1),
    ('""', 0),
    ('"a\\ud83d\\ude00b"', 3),
]


@pytest.mark.parametrize(("text", "length"), LENGTHS)
def test_lengths_count_characters_however_they_are_spelled(text: str, length: int) -> None:
    for low, high in ((length, length), (0, length), (length, 400), (length + 1, 400), (0, max(0, length - 1))):
        engine = byte_engine(schema_grammar({"type": "string", "minLength": low, "maxLength": high}))
        assert accepts(engine, text) == (low <= length <= high)


def test_lone_surrogates_are_no_characters_of_bounded_strings() -> None:
    assert not accepts(byte_engine(schema_grammar({"type": "string", "maxLength": 3})), '"\\ud800"')
    assert accepts(byte_engine(schema_grammar({"type": "string"})), '"\\ud800"')


FORMATS = {
    "date": (
        ["2024-02-29", "1999-12-31", "2000-02-29", "0001-01-01", "1000-01-01", "0400-02-29"],
        ["2023-02-29", "1999-13-01", "1999-1-1", "", "2024-02-30", "0000-02-10", "0000-02-29", "1900-02-29"],
    ),
    "time": (["23:59:59Z", "00:00:00.123+01:00"], ["24:00:00Z", "1:00:00Z", "12:00", "12:00:00"]),
    "date-time": (["2024-01-01T00:00:00Z"], ["2024-01-01 00:00:00Z", "2024-01-01"]),
    "uuid": (
        ["2eb8aa08-aa98-11ea-b4aa-73b441d16380"],
        ["2eb8aa08-aa98-11ea-b4aa-73b441d1638", "2eb8aa08aa9811eab4aa73b441d16380"],
    ),
    "ipv4": (["0.0.0.0", "255.255.255.255"], ["256.0.0.1", "1.2.3", "01.2.3.4"]),
    "ipv6": (
        ["::", "::1", "1:2:3:4:5:6:7:8", "::ffff:1.2.3.4", "fe80::1:2"],
        ["1::2::3", ":::", "12345::", "1:2:3:4:5:6:7"],
    ),
    "email": (["a@b.c", "a.b+c@d-e.org"], ["a", "@b", "a@", "a..b@c", ".a@b", "a b@c"]),
    "hostname": (["a", "a-b.example"], ["-a", "a-", "a..b", ".", "a" * 64]),
    "uri": (["https://a.b/c?d#e", "urn:x:y", "mailto:a@b"], ["//a.b", "a b:c", "", "1a:b", "http://a b"]),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name: str) -> None:
    engine = byte_engine(schema_grammar({"type": "string", "format": name}), minimise=False)
    for text in FORMATS[name][0]:
        assert accepts(engine, json.dumps(text)), text
    for text in FORMATS[name][1]:
        assert not accepts(engine, json.dumps(text)), text


def test_the_home_models_own_schema() -> None:
    from chimerac.frontends.config.locate import BUILTIN

    engine = byte_engine(schema_grammar((BUILTIN / "home.schema.json").read_text()), minimise=False, space_cap=0)
    engine.set_words("request", b"turn the left blind in Anna's room on and warm the hall")
    both = '[{"intent":"HassTurnOn","slots":{"area":"hall"}},{"intent":"NoSuchDevice","slots":{}}]'
    assert accepts(engine, both)
    assert not accepts(engine, '{"intent":"HassTurnOn","slots":{"area":"attic"}}')  # not in the request
    assert accepts(engine, '{"intent":"HassTurnOn","slots":{"area":"Anna\'s room","name":"left blind"}}')
    assert accepts(engine, '{"intent":"OutOfDomain","slots":{}}')
    assert accepts(engine, '{"intent":"HassLightSet","slots":{"area":"hall","temperature":2700}}')
    assert not accepts(engine, '{"intent":"HassTurnOn","slots":{"temperature":20}}')
    assert not accepts(engine, '{"intent":"HassFly","slots":{}}')
    assert not accepts(engine, '{"intent": "OutOfDomain","slots":{}}')
