"""The reference engine: masks are what accept takes, texts end in time, whitespace is capped, bytes are forced."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from grammar_tools import BYTE_VOCABULARY, BYTES, accepts, byte_engine, words_engine

from chimerac.compiler.ir.grammar import Grammar
from chimerac.frontends.grammar import mode_grammar
from chimerac.frontends.grammar.choices import choices_grammar
from chimerac.frontends.grammar.lark_files import lark_grammar
from chimerac.frontends.grammar.regex import regex_grammar
from chimerac.frontends.grammar.schema import schema_grammar
from chimerac.runtime.errors import BundleError
from chimerac.runtime.reference.grammar_engine import GrammarEngine, GrammarState

END = 256
WORDS = [b'{"', b'":', b'": "', b'"}', b"}}", b"]}", b"[[", b'","', b", ", b"  ", b"\n    ", b"true", b"1.5", b"\\u00",
         b'"a":1', b"hello", b"\xa9\xc3", b"abab", b"))", b'"x"', b'"]', b'{"kind":"']  # fmt: skip
SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["a", "b"]},
        "text": {"type": "string", "minLength": 2, "maxLength": 5},
        "list": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3},
        "child": {"$ref": "#"},
    },
    "required": ["kind"],
    "additionalProperties": False,
}


def engine_of(grammar: Grammar) -> GrammarEngine:
    tokens = [*BYTES, b"", *WORDS]
    made = words_engine(grammar, WORDS)
    from chimerac.runtime.bundle_format.grammar_trie import vocabulary_of

    return GrammarEngine(made.automaton, vocabulary_of(tokens), tokens, (END,))


@pytest.mark.parametrize(
    "grammar",
    [
        mode_grammar("json"),
        schema_grammar(SCHEMA),
        regex_grammar("(?:ab){2,40}(?:é|c)?"),
        lark_grammar('start: "(" start ")" start | "a"?\n%ignore " "'),
        choices_grammar(["hello", "help", "yes", "ünder"]),
    ],
    ids=["json", "schema", "counted", "nested", "choices"],
)
def test_a_mask_is_what_accept_takes(grammar: Grammar) -> None:
    engine = engine_of(grammar)
    generator = random.Random(1)
    for _ in range(12):
        at = engine.start()
        for _ in range(30):
            mask = engine.mask(at)
            for token in range(len(engine.tokens)):
                expected = engine.complete(at) if token == END else engine.accept(at, token) is not None
                assert mask[token] == expected, (token, at)
            left = generator.randrange(1, 30)
            limited = engine.mask(at, left)
            limit = max(left - 1, engine.closing(at) - 1)
            for token in np.flatnonzero(mask).tolist():
                after = engine.accept(at, token)
                assert limited[token] == (token == END or (after is not None and engine.closing(after) <= limit))
            assert not (limited & ~mask).any()
            choices = [t for t in np.flatnonzero(mask).tolist() if t != END]
            if not choices:
                assert engine.complete(at)
                break
            following = engine.accept(at, generator.choice(choices))
            assert following is not None
            at = following


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, 13, 40])
@pytest.mark.parametrize("grammar", [mode_grammar("json"), schema_grammar(SCHEMA)], ids=["json", "schema"])
def test_a_text_ends_within_its_tokens(grammar: Grammar, limit: int) -> None:
    engine = engine_of(grammar)
    generator = random.Random(limit)
    if limit < engine.closing(engine.start()):
        limit += engine.closing(engine.start())
    for _ in range(25):
        at, text = engine.start(), b""
        for left in range(limit, 0, -1):
            allowed = [t for t in np.flatnonzero(engine.mask(at, left)).tolist() if t != END]
            if not allowed:
                break
            token = generator.choice(allowed)
            text += engine.tokens[token]
            following = engine.accept(at, token)
            assert following is not None
            at = following
        assert engine.complete(at)
        json.loads(text)


def test_a_text_that_cannot_end_in_time_only_gets_shorter() -> None:
    engine = engine_of(schema_grammar({"const": "something rather long"}))
    at = engine.start()
    for left in (3, 2, 1):
        allowed = np.flatnonzero(engine.mask(at, left)).tolist()
        assert allowed
        for token in allowed:
            after = engine.accept(at, token)
            assert after is not None
            assert engine.closing(after) < engine.closing(at)
        following = engine.accept(at, allowed[0])
        assert following is not None
        at = following


@pytest.mark.parametrize("cap", [0, 1, 8, 255])
def test_optional_whitespace_is_capped(cap: int) -> None:
    engine = byte_engine(mode_grammar("json"), space_cap=cap)
    for count in (0, 1, cap - 1, cap, cap + 1, 300):
        blanks = (" \n\t\r" * 100)[: max(0, count)]
        assert accepts(engine, f"[{blanks}1{blanks},{blanks}2{blanks}]{blanks}") == (max(0, count) <= cap)
    assert accepts(engine, '["' + " " * 500 + '"]')


def test_a_cap_must_be_a_byte() -> None:
    with pytest.raises(BundleError, match="not in 0"):
        byte_engine(mode_grammar("json"), space_cap=256)


def test_the_grammars_own_cap_holds_by_default() -> None:
    engine = byte_engine(schema_grammar({"type": "array"}, space_cap=0))
    assert accepts(engine, "[1,2]")
    assert not accepts(engine, "[1, 2]")


def test_going_back_is_keeping_an_old_configuration() -> None:
    engine = engine_of(mode_grammar("json"))
    at = engine.feed(engine.start(), b'[{"a":[')
    assert at is not None
    before = engine.mask(at)
    for text in (b"1]", b'"x', b"[[[", b"]}"):
        assert engine.feed(at, text) is not None
    np.testing.assert_array_equal(engine.mask(at), before)


def test_what_accept_refuses() -> None:
    engine = engine_of(mode_grammar("json"))
    start = engine.start()
    assert engine.accept(start, END) is None
    assert engine.accept(start, -1) is None
    assert engine.accept(start, len(engine.tokens)) is None
    assert engine.accept(start, engine.tokens.index(b"}}")) is None
    assert start == engine.start()


def test_forced_bytes() -> None:
    schema = {"type": "object", "properties": {"answer": {"enum": ["maybe", "mayor"]}}, "required": ["answer"],
              "additionalProperties": False}  # fmt: skip
    engine = byte_engine(schema_grammar(schema, space_cap=0))
    assert engine.forced(engine.start()) == b'{"answer":"may'
    at = engine.feed(engine.start(), b'{"answer":"mayb')
    assert at is not None
    assert engine.forced(at) == b'e"}'
    assert (
        byte_engine(regex_grammar("a{1000}")).forced(GrammarState(byte_engine(regex_grammar("a{1000}")).start().state))
        == b"a" * 256
    )
    assert byte_engine(regex_grammar("a*b")).forced(byte_engine(regex_grammar("a*b")).start()) == b""
    whole = byte_engine(regex_grammar("a(?:bc)?"))
    assert whole.forced(whole.start()) == b"a"


def test_bytes_of_one_character_may_come_in_several_tokens() -> None:
    engine = engine_of(choices_grammar(["éé", "é"]))
    at = engine.start()
    for token in (0xC3, engine.tokens.index(b"\xa9\xc3"), 0xA9):
        following = engine.accept(at, token)
        assert following is not None
        at = following
    assert engine.complete(at)
    assert engine.mask(at).nonzero()[0].tolist() == [END]


def test_json_is_nested_64_deep_and_no_deeper() -> None:
    engine = byte_engine(mode_grammar("json"))
    assert accepts(engine, "[" * 64 + "]" * 64)
    assert accepts(engine, '{"a":' * 64 + "1" + "}" * 64)
    assert engine.feed(engine.start(), b"[" * 65) is None
    assert BYTE_VOCABULARY.size == 256
