"""grammar_fst against other parsers: regular expressions against re, rules against Lark's Earley parser; its limits."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable

import lark
import numpy as np
import pytest
from grammar_tools import BYTES, accepts, byte_engine, random_text
from hypothesis import given, settings
from hypothesis import strategies as st

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.grammar import Grammar
from chimerac.frontends.grammar import mode_grammar
from chimerac.frontends.grammar.choices import choices_grammar
from chimerac.frontends.grammar.lark_files import lark_grammar
from chimerac.frontends.grammar.regex import regex_grammar
from chimerac.frontends.grammar.schema import schema_grammar
from chimerac.passes.grammar_fst import GrammarFst
from chimerac.passes.grammar_fst.masks import Classifier, expand, stored_masks, tops
from chimerac.runtime.bundle_format.fstpack import NO_TOP
from chimerac.runtime.bundle_format.grammar_trie import vocabulary_of
from chimerac.runtime.reference.grammar_engine import GrammarEngine

_ATOMS = st.sampled_from(["a", "b", "c", "[ab]", "[^a]", "ab", "a?", "b*", "c+", "(?:ab|c)", "é", "[à-ü]"])
PATTERNS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda p: f"(?:{p[0]}|{p[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}", "{0,9}"])).map(
            lambda p: f"(?:{p[0]}){p[1]}"
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(PATTERNS, st.lists(st.text("abcé\n", max_size=9), min_size=12, max_size=12), st.booleans())
def test_regular_expressions_mean_what_re_says(pattern: str, texts: list[str], minimise: bool) -> None:
    engine = byte_engine(regex_grammar(pattern), minimise=minimise)
    for text in ["", *texts]:
        assert accepts(engine, text) == (re.fullmatch(pattern, text) is not None), text
    found = random_text(engine, random.Random(pattern), 12, b"abc").decode()
    assert re.fullmatch(pattern, found)


@pytest.mark.parametrize("bounds", ["{0,300}", "{17}", "{300}", "{299,}", "{200,1000}", "{1,500}"])
def test_long_repetitions_are_counted(bounds: str) -> None:
    pattern = f"(?:a|bc){bounds}d?"
    engine = byte_engine(regex_grammar(pattern))
    assert engine.automaton.states < 40
    for count in (0, 1, 16, 17, 18, 199, 200, 201, 298, 299, 300, 301, 499, 500, 501, 999, 1000, 1001):
        for text in ("a" * count, "bc" * count, "a" * count + "d", "a" * count + "b"):
            assert accepts(engine, text) == (re.fullmatch(pattern, text) is not None), (count, text[-3:])


def test_a_counter_that_cannot_be_told_from_what_follows_is_written_out() -> None:
    engine = byte_engine(regex_grammar("[ab]{1,200}a"))
    for text in ("a", "aa", "b" * 200 + "a", "b" * 201 + "a", "ab" * 100 + "a", "ab"):
        assert accepts(engine, text) == (re.fullmatch("[ab]{1,200}a", text) is not None)


GRAMMARS = {
    "expression": 'start: e\ne: e "+" t | t\nt: t "*" f | f\nf: "a" | "(" e ")" | "-" f',
    "ambiguous": 'start: e\ne: e "+" e | "a"',
    "else": 'start: s\ns: "i" s ["e" s] | "a"',
    "palindrome-like": 'start: "(" start ")" start | "a"?',
    "indirect left": 'start: a\na: b "x" | "y"\nb: a "z" | "w" | c\nc: "v" c | "u"',
    "optional": 'start: ["a"] ["b" ["c"]] x*\nx: "(" x* ")" | "[" [x ("," x)*] "]"',
    "shared openings": 'start: x+\nx: "<a>" x* "</a>" | "<b>" x* "</b>" | "a"',
    "ignored": 'start: "a" ("(" start ")")*\n%ignore " "',
    "ranges": 'start: W~2..3 ("," W)~0..2\nW: /[ab]c?/',
    "templates": '_list{x}: x ("," x)*\nstart: "(" _list{item} ")"\nitem: "a" | start',
}
ALPHABETS = {
    "expression": "a+*()-",
    "ambiguous": "a+",
    "else": "iea",
    "palindrome-like": "()a",
    "indirect left": "xyzwvu",
    "optional": "abc()[],",
    "shared openings": "<ab/>",
    "ignored": "a() ",
    "ranges": "abc,",
    "templates": "(),a",
}


@pytest.mark.parametrize("name", GRAMMARS)
def test_rules_mean_what_larks_earley_parser_says(name: str) -> None:
    oracle = lark.Lark(GRAMMARS[name], parser="earley", lexer="dynamic_complete")

    def parses(text: str) -> bool:
        try:
            oracle.parse(text)
        except lark.exceptions.LarkError:
            return False
        return True

    engine = byte_engine(lark_grammar(GRAMMARS[name]))
    alphabet = ALPHABETS[name]
    length = 6 if len(alphabet) < 5 else 4
    for size in range(length):
        for letters in itertools.product(alphabet, repeat=size):
            text = "".join(letters)
            assert accepts(engine, text) == parses(text), text
    generator = random.Random(name)
    for _ in range(15):
        text = random_text(engine, generator, generator.randrange(1, 25), alphabet.encode()).decode()
        assert parses(text), text


def test_merging_states_changes_nothing() -> None:
    for grammar in (mode_grammar("json"), mode_grammar("python"), schema_grammar({"type": "array", "maxItems": 3})):
        small, large = byte_engine(grammar), byte_engine(grammar, minimise=False)
        assert small.automaton.states < large.automaton.states
        generator = random.Random(5)
        for one, other in ((small, large), (large, small)):
            for _ in range(20):
                assert accepts(other, random_text(one, generator, 40, b'{}[]():,"a1 '))


def test_a_conflict_names_both_ways_and_an_example() -> None:
    with pytest.raises(UserError) as caught:
        GrammarFst().compile(lark_grammar('start: a "x" | b "x"\na: "k" a "z" | "q"\nb: "k" b "z" | "r"'))
    assert caught.value.code == "CHM283"
    assert "k" in caught.value.message
    assert "the rule a" in caught.value.message
    assert "the rule b" in caught.value.message


def test_two_readings_of_an_end_are_noted() -> None:
    grammar = lark_grammar('start: s\ns: "if " s [" else " s] | "x"')
    _, notes = GrammarFst().compile_with_notes(grammar)
    assert len(notes) == 1
    assert "the rule s" in notes[0]
    assert GrammarFst().compile_with_notes(mode_grammar("json"))[1] == ()


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ('start: "a" start', "CHM284"),
        ('start: x start\nx: y\ny: /a*/ start | "b"', "CHM280"),
        ('start: e\ne: o e "a" | "b"\no: "c"?', "CHM284"),
    ],
)
def test_grammars_without_a_text_or_with_hidden_recursion(source: str, code: str) -> None:
    with pytest.raises(UserError) as caught:
        GrammarFst().compile(lark_grammar(source))
    assert caught.value.code == code


def test_limits_are_errors() -> None:
    deep = "(" * 60_000
    cases: list[Callable[[], object]] = [
        lambda: lark_grammar(f'start: {deep}"a"{deep.replace("(", ")")}'),
        lambda: lark_grammar(f"start: /{deep}a{deep.replace('(', ')')}/"),
        lambda: regex_grammar(deep + "a" + deep.replace("(", ")")),
        lambda: schema_grammar("[" * 60_000 + "]" * 60_000),
        lambda: schema_grammar('{"items":' * 300 + "{}" + "}" * 300),
        lambda: schema_grammar({"enum": list(range(10_001))}),
        lambda: choices_grammar([str(i) for i in range(10_001)]),
        lambda: schema_grammar({"type": "string", "minLength": 70_000}),
        lambda: regex_grammar("a{70000}"),
        lambda: regex_grammar("a" * (1 << 20) + "b"),
        lambda: GrammarFst().compile(regex_grammar("(?:a|b)*a" + "(?:a|b)" * 17)),
        lambda: lark_grammar("\n".join(f'r{i}: "a" r{i + 1}' for i in range(4200)) + '\nr4200: "b"\nstart: r0'),
    ]
    for index, case in enumerate(cases):
        with pytest.raises(UserError) as caught:
            case()
        assert caught.value.code == "CHM282", index


def test_nesting_up_to_the_limit_compiles() -> None:
    pattern = "(a" * 250 + "b" + ")?" * 250
    engine = byte_engine(regex_grammar(pattern))
    assert accepts(engine, "a" * 250 + "b")
    nested: dict[str, object] = {"type": "integer"}
    for _ in range(120):
        nested = {"type": "array", "items": nested, "minItems": 1, "maxItems": 9}
    with pytest.raises(UserError) as caught:  # 120 frames are more than there are
        GrammarFst().compile(schema_grammar(nested))
    assert caught.value.code == "CHM284"
    many = GrammarFst().compile(choices_grammar([f"choice {i}" for i in range(10_000)]))
    assert accepts(byte_engine(many), "choice 9999")


def test_a_full_stack_can_always_be_closed() -> None:
    node = {
        "type": "object",
        "properties": {"a": {"$ref": "#"}, "b": {"type": "string", "minLength": 3}},
        "required": ["b"],
    }
    cases = [(mode_grammar("json"), b"["), (mode_grammar("json"), b'{"a":'), (schema_grammar(node), b'{"a":')]
    for grammar, opening in cases:
        engine = byte_engine(grammar)
        at = engine.start()
        for byte in opening * 100:
            following = engine.step(at, byte)
            if following is None:
                break
            at = following
        # the string of the schema needs a frame of its own
        assert len(at.frames) == (64 if grammar.name == "json" else 63)
        while not engine.complete(at):
            closing = engine.closing(at)
            shorter = [s for b in range(256) if (s := engine.step(at, b)) is not None and engine.closing(s) < closing]
            assert shorter
            at = shorter[0]


@pytest.mark.parametrize(
    "grammar",
    [
        mode_grammar("json"),
        mode_grammar("math_latex"),
        lark_grammar('start: "a" start "b" | "c"'),
        regex_grammar("(?:ab){3,200}c{100,}"),
        schema_grammar({"type": "array", "items": {"type": "string", "minLength": 5}, "minItems": 4, "maxItems": 6}),
        schema_grammar({"type": "object", "required": ["a", "z"], "properties": {"a": {"const": [1, "x"]}}}),
    ],
    ids=lambda g: g.source[:20] if isinstance(g, Grammar) else None,
)
def test_some_byte_always_brings_the_end_nearer(grammar: Grammar) -> None:
    engine = byte_engine(grammar)
    generator = random.Random(8)
    for _ in range(12):
        at = engine.start()
        for _ in range(generator.randrange(60)):
            following = [s for b in range(256) if (s := engine.step(at, b)) is not None]
            if not following:
                break
            at = generator.choice(following)
        while (closing := engine.closing(at)) > 0:
            following = [s for b in range(256) if (s := engine.step(at, b)) is not None]
            at = min(following, key=engine.closing)
            assert engine.closing(at) <= closing - 1
        assert engine.complete(at)


WORDS = [
    b'{"',
    b'":',
    b'": "',
    b'"}',
    b'"}}',
    b"}}",
    b"]}",
    b"[[",
    b"[[[[",
    b'","',
    b", ",
    b"  ",
    b"\n  ",
    b" \n \n",
    b"true",
    b"1.5",
    b"e10",
    b"\\u00",
    b"\\n",
    b'"a":1',
    b"]]]]]]",
    b"hello",
    b"\xc3",
    b"\xa9\xc3",
    b"()",
    b"(a)",
    b"'x'",
    b"'''",
    b"#\n",
    b"){",
]


@pytest.mark.parametrize("mode", ["json", "python", "shell", "markdown"])
def test_stored_masks_are_those_of_the_engine(mode: str) -> None:
    tokens = [*BYTES, *(word for word in WORDS if len(word) > 1)]
    vocabulary = vocabulary_of(tokens)
    automaton = GrammarFst().compile(mode_grammar(mode))
    masks = stored_masks(automaton, vocabulary)
    engine = GrammarEngine(automaton, vocabulary, tokens)
    generator = random.Random(mode)
    seen = 0
    for _ in range(25):
        at = engine.start()
        for _ in range(40):
            mask = engine.mask(at)
            top = at.frames[-1][0] if at.frames else NO_TOP
            rows = [row for row in masks.entry[masks.first[at.state] : masks.first[at.state + 1]] if row[0] == top]
            assert len(rows) == 1
            last = int(rows[0][6])
            peak, flags, rise = last & 255, last >> 8 & 255, last >> 16
            if (at.space == 0 or flags & 1) and len(at.frames) + peak <= 64:
                seen += 1
                accepted, uncertain = expand(masks, rows[0], vocabulary)
                for left in (None, engine.closing(at) + rise + 1):
                    found = accepted.copy()
                    limit = 1 << 60 if left is None else max(left, engine.closing(at)) - 1
                    for token in uncertain.tolist():
                        after = engine.accept(at, token)
                        found[token] = after is not None and engine.closing(after) <= limit
                    np.testing.assert_array_equal(found, engine.mask(at, left))
            ids = np.flatnonzero(mask).tolist()
            if not ids:
                break
            long = [i for i in ids if i >= 256]
            token = generator.choice(long if long and generator.random() < 0.6 else ids)
            following = engine.accept(at, token)
            assert following is not None
            at = following
    assert seen > 100


def test_entries_know_every_top_that_occurs() -> None:
    automaton = GrammarFst().compile(mode_grammar("json"))
    possible = tops(automaton)
    assert possible[automaton.start] == {NO_TOP}
    assert max(map(len, possible)) == 3  # inside an object or array: what was open before it, or nothing
    blind = Classifier(automaton, vocabulary_of([*BYTES, b'{"', b'":'])).classify(automaton.start, NO_TOP)
    assert not len(blind.uncertain)


@pytest.mark.parametrize("mode", ["json", "math_latex"])
def test_refining_a_split_is_making_it_anew(mode: str) -> None:
    automaton = GrammarFst().compile(mode_grammar(mode))
    classifier = Classifier(automaton, vocabulary_of([*BYTES, *(word for word in WORDS if len(word) > 1)]))
    several = [(state, top) for state, held in enumerate(tops(automaton)) if len(held) > 1 for top in sorted(held)]
    assert len(several) > 100
    for state, top in random.Random(2).sample(several, 60):
        one = classifier.refined(classifier.classify(state, None), state, top)
        other = classifier.classify(state, top)
        np.testing.assert_array_equal(one.accepted, other.accepted)
        np.testing.assert_array_equal(one.uncertain, other.uncertain)
        assert one.peak >= other.peak
        assert one.rise >= other.rise
        assert one.flags == other.flags
