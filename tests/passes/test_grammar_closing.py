"""From every place in a text an end is near: exhaustive walks of small automata, what is refused, what is counted."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from typing import Any

import jsonschema
import numpy as np
import pytest
from grammar_tools import accepts, byte_engine
from grammar_walks import Walker
from hypothesis import given, settings
from hypothesis import strategies as st

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.grammar import EMPTY, Call, Concat, Counted, Expression, Grammar, Graph, Literal, choice
from chimerac.frontends.grammar import MODES, mode_grammar
from chimerac.frontends.grammar.lark_files import lark_grammar
from chimerac.frontends.grammar.regex import regex_grammar
from chimerac.frontends.grammar.schema import schema_grammar
from chimerac.passes.grammar_fst import GrammarFst
from chimerac.passes.grammar_fst.proof import stuck
from chimerac.runtime.bundle_format.fstpack import LIMIT, Automaton

POINT = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
MATRIX = {
    "type": "array",
    "items": {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3},
    "minItems": 3,
    "maxItems": 3,
}
TREE = {
    "$ref": "#/$defs/n",
    "$defs": {
        "n": {
            "anyOf": [
                {"type": "array", "items": {"$ref": "#/$defs/n"}, "minItems": 2, "maxItems": 70},
                {"type": "string", "minLength": 3, "maxLength": 5},
            ]
        }
    },
}

#: Schemas, each with the bytes of its shortest text.
SHORTEST: list[tuple[Any, int]] = [
    ({"type": "array", "items": {"type": "array", "items": {"type": "integer"}, "minItems": 1}, "minItems": 2}, 9),
    (MATRIX, len("[[0,0,0],[0,0,0],[0,0,0]]")),
    (
        {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object", "properties": {"p": POINT}, "required": ["p"], "additionalProperties": False},
        },
        len('[{"p":[0,0]}]'),
    ),
    (TREE, 5),
    ({"type": "array", "items": {"type": "array", "items": MATRIX, "minItems": 2}, "minItems": 2}, 2 * 2 * 26 + 5),
    ({"type": "array", "items": {"type": "string", "minLength": 4}, "minItems": 9, "maxItems": 9}, 9 * 7 + 1),
    ({"type": "string", "pattern": "^(abc)*$", "minLength": 7, "maxLength": 9}, 11),
    ({"type": "string", "pattern": "^[^\\n]*$", "minLength": 30, "maxLength": 4000}, 32),
    ({"type": "string", "format": "email", "maxLength": 50}, 5),
    ({"type": "string", "format": "uri", "minLength": 1, "maxLength": 2083}, 4),
]


@pytest.mark.parametrize("number", range(len(SHORTEST)))
def test_schemas_with_minima_end_from_everywhere(number: int) -> None:
    schema, shortest = SHORTEST[number]
    automaton = GrammarFst().compile(schema_grammar(schema))
    assert automaton.closing == shortest
    walker = Walker(automaton)
    assert walker.check_everywhere(1500) > 5
    generator = random.Random(number)
    for more in range(25):
        jsonschema.validate(json.loads(walker.text(generator, shortest + more)), schema)


@pytest.mark.parametrize("mode", MODES)
def test_modes_end_from_everywhere(mode: str) -> None:
    assert Walker(GrammarFst().compile(mode_grammar(mode))).check_everywhere(1500) > 8


@pytest.mark.parametrize(
    ("source", "after"),
    [
        ('start: "a" start "a" | "a"', "aa"),
        ('start: "a" start "a" | "b" start "b" | "a" | "b"', "a"),
        ('start: "a" start "a" | start "a" | "c"', "aaca"),  # minimised, the lowest frame has the states of others
        ('start: x "a"\nx: "a" x "a" | "b"', None),
        ('start: x "b" "c"\nx: "(" x ")" | x "b" | "a"', None),
    ],
)
def test_what_one_stack_cannot_follow_to_an_end_is_refused_with_an_example(source: str, after: str | None) -> None:
    grammar = lark_grammar(source)
    if after is None:
        assert Walker(GrammarFst().compile(grammar)).check_everywhere(500) > 4
        return
    with pytest.raises(UserError) as caught:
        GrammarFst().compile(grammar)
    assert caught.value.code == "CHM283"
    assert f"after {after!r}" in caught.value.message
    assert "no end can be reached" in caught.value.message


def compiled(grammar: Grammar) -> Automaton | None:
    """The automaton; None of a grammar without a text."""
    try:
        return GrammarFst().compile(grammar)
    except UserError as error:
        if error.code != "CHM284":
            raise
        return None


def test_the_proof_finds_what_is_wrong_in_tables() -> None:
    automaton = GrammarFst().compile(schema_grammar(MATRIX))
    assert stuck(automaton) is None
    loop = automaton.loop.copy()
    for row in np.flatnonzero(automaton.state[:, 0]).tolist():
        state = automaton.state.copy()
        state[row, 0] -= 1
        assert stuck(replace(automaton, state=state)) is not None, row
    for row in range(1, len(loop)):
        loop[row, 2] -= 1
        assert stuck(replace(automaton, loop=loop)) is not None
        loop[row, 2] += 1
    delta = automaton.delta.copy()
    ends = np.flatnonzero(delta[:, -1] != 0xFFFFFFFF)
    delta[ends[0], -1] = 0xFFFFFFFF
    place = stuck(replace(automaton, delta=delta))
    assert place is not None


def test_an_example_leads_to_where_the_proof_fails() -> None:
    automaton = GrammarFst().compile(regex_grammar("abcdef?"))
    delta = automaton.delta.copy()
    state = automaton.start
    for byte in b"abc":
        state = int(delta[state, automaton.classes[byte]]) & 0xFFFF
    delta[state] = 0xFFFFFFFF
    place = stuck(replace(automaton, delta=delta))
    assert place is not None
    assert place.example == b"abc"


@pytest.mark.parametrize(
    "bounds", [(0, 40), (3, None), (7, 9), (30, 31), (5, 5), (0, 0), (1, 3000), (300, None), (59, 4000)]
)
@pytest.mark.parametrize(
    "pattern", ["[a-z]*", "(?:abc)*", "(?:a|bb)+c?", "a*(?:\\.[a-z]{2,3})?", "(?:é|ê.z)*", "x|yz*|é{4}", "(?:ab?){2,9}"]
)
def test_a_length_beside_a_pattern_is_counted_exactly(pattern: str, bounds: tuple[int, int | None]) -> None:
    low, high = bounds
    schema: dict[str, Any] = {"type": "string", "pattern": f"^(?:{pattern})$", "minLength": low}
    if high is not None:
        schema["maxLength"] = high
    automaton = compiled(schema_grammar(schema))
    if automaton is None:  # too short or too long whatever it is
        assert pattern in ("x|yz*|é{4}", "(?:ab?){2,9}", "(?:abc)*", "(?:a|bb)+c?")
        sizes = range(low, (low + 40 if high is None else high) + 1)
        assert not any(re.fullmatch(pattern, text) for n in sizes if n < 60 for text in made_of(pattern, n))
        return
    walker = Walker(automaton)
    walker.check_everywhere(400)
    engine, generator = byte_engine(automaton), random.Random(pattern)
    for _ in range(15):
        text = json.loads(walker.text(generator, automaton.closing + generator.choice([0, 1, 9, 60])))
        assert re.fullmatch(pattern, text)
        assert low <= len(text) <= (1 << 20 if high is None else high)
    for size in {low - 1, low, low + 1, (high or low + 5) - 1, high or low + 5, (high or low + 5) + 1}:
        for text in made_of(pattern, size):
            wanted = low <= size <= (1 << 20 if high is None else high) and re.fullmatch(pattern, text) is not None
            assert accepts(engine, json.dumps(text, ensure_ascii=False)) == wanted, text


def made_of(pattern: str, size: int) -> list[str]:
    """Some texts of a size, matching or not."""
    pieces = ["a", "abc", "bb", "ab", "é", "ê.z", "yz", "a.de", "a.def", "x"]
    whole = [(piece * (size // len(piece) + 1))[: max(0, size)] for piece in pieces]
    ends = [
        text[: max(0, size - len(end))] + end for text in whole[:3] for end in (".de", ".def", "c") if size >= len(end)
    ]
    return [text for text in dict.fromkeys([*whole, *ends]) if len(text) == size]


def test_a_character_whose_first_byte_does_not_say_where_it_leads_is_limited_later() -> None:
    schema = {"type": "string", "pattern": "^(?:é|ê.z)*$", "maxLength": 4000}
    automaton = GrammarFst().compile(schema_grammar(schema))
    assert LIMIT in {int(word) & 0xFF for word in automaton.op}
    assert automaton.states < 30
    engine = byte_engine(automaton)
    for text, wanted in (
        ("é" * 4000, True),
        ("é" * 3997 + "êxz", True),
        ("é" * 3998 + "êxz", False),
        ("é" * 4001, False),
    ):
        assert accepts(engine, f'"{text}"') == wanted


@pytest.mark.parametrize(
    ("schema", "most"),
    [
        ({"type": "string", "pattern": "^[^\\n]*$", "maxLength": 4000}, 40),
        ({"type": "string", "format": "uri", "maxLength": 2083}, 60),
        ({"type": "string", "format": "email", "maxLength": 50}, 400),
        ({"type": "string", "minLength": 1000, "maxLength": 60_000}, 40),
        ({"type": "array", "items": {"type": "string"}, "minItems": 1000, "maxItems": 60_000}, 60),
        ({"type": "string", "pattern": "^[a-z ]+$", "minLength": 900, "maxLength": 9000}, 40),
    ],
)
def test_lengths_and_counts_take_no_states(schema: Any, most: int) -> None:
    assert GrammarFst().compile(schema_grammar(schema)).states < most


def test_repetitions_of_regular_expressions_take_no_states() -> None:
    for pattern in ("a{1,5000}", "[^,]{0,60000}(?:,[^,]{7,9000}){2,800}"):
        assert GrammarFst().compile(regex_grammar(pattern)).states < 30


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_nested_counts_end_from_everywhere(data: st.DataObject) -> None:
    def part(depth: int) -> Any:
        leaf = st.sampled_from([Literal(b"x"), Literal(b"yz"), choice([Literal(b"u"), Literal(b"vw")])])
        if not depth:
            return data.draw(leaf)
        least = data.draw(st.integers(0, 4))
        most = data.draw(st.one_of(st.none(), st.integers(least, least + 300)))
        opening = data.draw(st.sampled_from([b"[", b"(("]))
        separator = data.draw(st.sampled_from([b"", b",", b"--"]))
        inner = part(depth - 1)
        return Counted(Literal(opening), inner, Literal(separator), Literal(b"]"), least, most)

    rules = {"start": Concat((part(data.draw(st.integers(1, 3))), Literal(b".")))}
    automaton = GrammarFst(data.draw(st.booleans())).compile(Grammar("g", rules))
    walker = Walker(automaton)
    walker.check_everywhere(300)
    shortest = walker.shortest(600)
    assert shortest is None or automaton.closing == shortest


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_graphs_with_bounds_take_what_walks_through_them_take(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 4))
    letters = "abc"
    moves = [data.draw(st.dictionaries(st.sampled_from(letters), st.integers(0, size - 1))) for _ in range(size)]
    final = tuple(data.draw(st.booleans()) for _ in range(size))
    least = data.draw(st.integers(0, 9))
    most = data.draw(st.one_of(st.none(), st.integers(least, least + 40)))
    steps = tuple(tuple((Literal(c.encode()), target) for c, target in row.items()) for row in moves)
    rules: dict[str, Expression] = {
        "start": Concat((Literal(b"<"), Graph(steps, final, least, most), Literal(b">"), Call("rest"))),
        "rest": EMPTY,
    }

    def allowed(text: str) -> bool:
        state = 0
        for letter in text:
            if letter not in moves[state]:
                return False
            state = moves[state][letter]
        return final[state] and least <= len(text) and (most is None or len(text) <= most)

    generator = random.Random(data.draw(st.integers(0, 1 << 30)))
    texts = ["".join(generator.choices(letters, k=n % 50)) for n in range(60)]
    for _ in range(60):  # walks
        state, text = 0, ""
        while moves[state] and len(text) < 52 and (not final[state] or generator.random() < 0.95):
            letter = generator.choice(sorted(moves[state]))
            state, text = moves[state][letter], text + letter
        texts.append(text)
    automaton = compiled(Grammar("g", rules))
    if automaton is None:
        assert not any(map(allowed, texts))
        return
    engine = byte_engine(automaton)
    for text in texts:
        assert accepts(engine, f"<{text}>") == allowed(text), text
    Walker(automaton).check_everywhere(300)
