"""The mode json against Python's parser, on texts made to be valid, nearly valid, or random."""

from __future__ import annotations

import json
import random
from typing import Any, NoReturn

import pytest
from grammar_tools import accepts, byte_engine, random_text
from hypothesis import given, settings
from hypothesis import strategies as st

from chimerac.frontends.grammar import mode_grammar

ENGINE = byte_engine(mode_grammar("json"))

VALID = [
    "0",
    "-0",
    "1",
    "-1",
    "10",
    "1.0",
    "-0.0",
    "1e5",
    "1E+5",
    "1e-05",
    "0.5e00",
    "123456789012345678901234567890",
    "1e400",
    '""',
    '"a"',
    '"\\""',
    '"\\\\"',
    '"\\/"',
    '"\\b\\f\\n\\r\\t"',
    '"\\u0000"',
    '"\\uD834\\uDD1E"',
    '"\\ud800"',
    '"\\uDC00x"',
    '"\u007f"',
    '"é"',
    '"😀"',
    '"\u2028"',
    '"\uffff"',
    "true",
    "false",
    "null",
    "[]",
    "[ ]",
    "[\n]",
    "[1]",
    "[1,2]",
    "[[]]",
    "[{}]",
    "{}",
    "{ }",
    '{"":0}',
    '{"a":1}',
    '{"a":1,"a":2}',
    '{"a":{"b":[]}}',
    " 1 ",
    "\t\r\n[ 1 , 2 ]\n",
    "[" * 64 + "]" * 64,
]
INVALID = [
    "",
    " ",
    "01",
    "-",
    "+1",
    ".5",
    "1.",
    "1.e5",
    "1e",
    "1e+",
    "--1",
    "-01",
    "0x10",
    "1_0",
    "NaN",
    "Infinity",
    "-Infinity",
    "nan",
    "True",
    "nul",
    "nulll",
    "undefined",
    "'a'",
    '"',
    '"a',
    '"\\"',
    '"\\x41"',
    '"\\u12"',
    '"\\u12g4"',
    '"\\',
    '"\t"',
    '"\n"',
    '"\u0000"',
    '"\x1f"',
    "[",
    "]",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[1,,2]",
    "[1 2]",
    "[1]]",
    "{",
    "}",
    "{1:2}",
    '{"a"}',
    '{"a":}',
    '{"a":1,}',
    '{,"a":1}',
    '{"a" 1}',
    '{"a":1 "b":2}',
    '{"a":1}}',
    "{a:1}",
    '{"a"::1}',
    "[1}",
    '{"a":1]',
    "1 2",
    "[] []",
    "\ufeff1",
    "/*c*/1",
    "1//c",
    "\x0c1",
    "\u00a01",
    "[\x0b]",
    "\\u0031",
    '{"a":1;"b":2}',
    "[" * 65 + "]" * 65,
    '["a\\u00"]',
    "tru",
    "[true false]",
    '"a" "b"',
    "\x00",
    "[1e]",
    "é",
]


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)


def parses(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_refuse)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("text", VALID)
def test_valid_texts(text: str) -> None:
    assert parses(text)
    assert accepts(ENGINE, text)


@pytest.mark.parametrize("text", INVALID)
def test_invalid_texts(text: str) -> None:
    assert not parses(text) or text.count("[") > 64
    assert not accepts(ENGINE, text)


@pytest.mark.parametrize(
    "data",
    [
        b'"\xff"',
        b'"\xc0\x80"',
        b'"\xc3"',
        b'"\x80"',
        b'"\xe0\x80\x80"',
        b'"\xed\xa0\x80"',
        b'"\xf4\x90\x80\x80"',
        b'"\xf8\x88\x80\x80\x80"',
        b"\xff1",
    ],
)
def test_invalid_utf8(data: bytes) -> None:
    assert not accepts(ENGINE, data)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(VALUES, st.booleans(), st.sampled_from([None, 0, 2, "\t"]), st.data())
def test_what_python_writes_and_one_change_to_it(
    value: Any, escape: bool, indent: int | str | None, data: st.DataObject
) -> None:
    text = json.dumps(value, ensure_ascii=escape, indent=indent)
    engine = byte_engine(ENGINE.automaton, space_cap=255)
    assert accepts(engine, text)
    position = data.draw(st.integers(0, len(text)))
    sign = data.draw(st.sampled_from('"\\{}[],:0-1e. tn\x00é'))
    changed = data.draw(
        st.sampled_from(
            [
                text[:position] + sign + text[position:],
                text[:position] + text[position + 1 :],
                text[:position] + sign + text[position + 1 :],
            ]
        )
    )
    assert accepts(engine, changed) == parses(changed)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text('{}[]",:0123.eE+-\\untrfals \né', max_size=8))
def test_short_texts(text: str) -> None:
    assert accepts(ENGINE, text) == parses(text)


def test_random_texts_of_the_grammar_are_json() -> None:
    generator = random.Random(11)
    for _ in range(300):
        text = random_text(ENGINE, generator, generator.randrange(60), b'{}[]",:0a1\\u')
        json.loads(text.decode("utf-8"), parse_constant=_refuse)
