"""Regular expressions: both dialects against Python's, and what is refused, with its place."""

from __future__ import annotations

import re

import pytest
from grammar_tools import accepts, byte_engine

from chimerac.compiler.errors import UserError
from chimerac.frontends.grammar import characters as ch
from chimerac.frontends.grammar.character_dfa import both, complement, of_regex, of_texts, without
from chimerac.frontends.grammar.regex import parse, regex_grammar
from chimerac.frontends.grammar.regex_language import automaton, language
from chimerac.frontends.grammar.regex_tree import anchored

TEXTS = [
    "",
    "a",
    "b",
    "A",
    "é",
    "É",
    "ß",
    "١",
    "1",
    "_",
    " ",
    "\t",
    "\n",
    "\u2028",
    "ab",
    "a\nb",
    "aa",
    "]",
    "-",
    "^",
    "\\",
    ".",
    "x-y",
    "\x08",
    "K",
    "😀",
    "a1",
]

PYTHON = [
    r"\d",
    r"\D",
    r"\w+",
    r"\W",
    r"\s",
    r"\S",
    ".",
    "(?s:.)",
    "(?i)é|k",
    "(?i:AB)",
    "[]a]",
    "[^]a]",
    "[a-]",
    r"[\]\-^]",
    r"[\d_]+",
    r"\x61|\u00e9|\U0001f600",
    "a{1}",
    "a{,2}",
    "a{2,}",
    "a{x",
    "a{",
    "(?P<n>a)b?",
    "(?#note)a",
    r"\.",
    r"\\",
    r"[\b]",
    "(?x) a b # c",
    "^a$",
    r"\Aa\Z",
    "(?:)",
    "a||b",
    "(?a:\\w)",
    r"\t|\n",
]


@pytest.mark.parametrize("pattern", PYTHON)
def test_pythons_dialect(pattern: str) -> None:
    engine = byte_engine(regex_grammar(pattern))
    for text in TEXTS:
        assert accepts(engine, text) == (re.fullmatch(pattern, text) is not None), text


@pytest.mark.parametrize(
    "pattern",
    [
        "a",
        "^a",
        "a$",
        "^a$",
        "a|^b",
        "^(a|b$)",
        "(?:a|^b)1?$",
        "(?!(?:^|b)).",
        "(?!^a)[ab]",
        "(?=.*b)a",
        "x-?(?!y)",
        "(^a|b)",
        "(a|b$)",
        r"\d",
        r"^\w+$",
        "",
        "^$",
        "x.y",
        r"\u00e9",
        r"^\s$",
        "[^]",
    ],
)
def test_ecmas_dialect_searches(pattern: str) -> None:
    python = pattern.replace("$", r"\Z").replace("[^]", r"[\s\S]")
    dfa = automaton(language(parse(pattern, "ecma"), search=True))
    flags = re.ASCII if pattern != r"^\s$" else 0
    for text in TEXTS:
        assert dfa.accepts(text) == (re.search(python, text, flags) is not None), text


@pytest.mark.parametrize(
    ("pattern", "column"),
    [
        ("(?<!a)b", 1),
        (r"(a)\1", 4),
        (r"a\b", 2),
        ("(a", 1),
        ("a)", 2),
        ("[a", 1),
        ("*a", 1),
        ("a**", 3),
        ("a{2}{3}", 5),
        ("a*+", 3),
        ("(?>a)", 1),
        ("a(?i)b", 2),
        ("(?-i)a", 1),
        ("[b-a]", 2),
        (r"[a-\d]", 2),
        (r"[\8]", 2),
        (r"\400", 1),
        (r"\8", 1),
        (r"a\B", 2),
        (r"\p{L}", 1),
        (r"\Ga", 1),
        ("(?<n>a)", 1),
        ("(?P<n>a)(?P<n>b)", 9),
        ("(?P<1>a)", 1),
        (r"\N{NO SUCH SIGN}", 1),
        ("[\ud83d]", 2),
        ("a\ud83d", 2),
        ("(?m)a$", 6),
        ("(?=a)*", 6),
        ("a\n(b", 1),
        (r"\q", 1),
        (r"\x6", 1),
        (r"\p{Nope}", 1),
        ("a{3,2}", 2),
        ("(?P=n)", 1),
        (r"\ud800", 1),
        ("^*", 2),
        ("(?z)", 1),
        ("a\\", 2),
        ("[[:alpha:]]", 2),
    ],
)
def test_what_is_refused(pattern: str, column: int) -> None:
    with pytest.raises(UserError) as caught:
        regex_grammar(pattern)
    assert caught.value.code == "CHM280"
    assert caught.value.span is not None
    assert caught.value.span.column == column


def test_anchors_inside_are_refused() -> None:
    for pattern in ("a^b", "(a$)b", "(a$|b)*"):
        with pytest.raises(UserError, match="ends only"):
            anchored(parse(pattern))


def test_text_beside_anchors_may_be_long_and_many_looks_ahead_are_refused() -> None:
    text = "ab{1}" * 400
    assert accepts(byte_engine(regex_grammar(f"(?=a){text}$")), "ab" * 400)
    with pytest.raises(UserError) as caught:
        regex_grammar("(?=a)a[bc]{2,40}" * 100)
    assert caught.value.code == "CHM282"


def test_shortest_matches_mean_nothing_for_a_whole_text() -> None:
    assert accepts(byte_engine(regex_grammar("a*?b+?")), "aabb")


def test_sets_of_characters() -> None:
    vowels = ch.single("aeiou")
    assert ch.inverted(ch.inverted(vowels)) == vowels
    assert ch.difference(ch.single("abc"), vowels) == ((98, 99),)
    assert ch.intersection(((0, 200),), ((100, 300),)) == ((100, 200),)
    assert ch.char_set([(0xD000, 0xE100)]) == ((0xD000, 0xD7FF), (0xE000, 0xE100))
    for chars in (
        ch.ALL,
        vowels,
        ((0x7F, 0x80),),
        ((0x7FE, 0x1000),),
        ((0xFFFF, 0x10000),),
        ((0x10FFFF, 0x10FFFF),),
        ((0, 0x3FF), (0xE123, 0x1F600)),
    ):
        engine = byte_engine(regex_grammar("[" + "".join(f"\\U{a:08x}-\\U{b:08x}" for a, b in chars) + "]"))
        for point in (
            0,
            0x61,
            0x7F,
            0x80,
            0x7FE,
            0x7FF,
            0x800,
            0xFFF,
            0x1000,
            0xD7FF,
            0xE000,
            0xFFFF,
            0x10000,
            0x10FFFF,
        ):
            assert accepts(engine, chr(point)) == any(a <= point <= b for a, b in chars)


def test_automata_over_characters() -> None:
    left, right = of_regex(anchored(parse("[ab]*"))), of_regex(anchored(parse("a.*")))
    for text in ("", "a", "ab", "b", "ac", "abab"):
        in_left, in_right = left.accepts(text), right.accepts(text)
        assert both(left, right).accepts(text) == (in_left and in_right)
        assert without(left, right).accepts(text) == (in_left and not in_right)
        assert complement(left).accepts(text) != in_left
        assert of_texts(["ab", "a"]).accepts(text) == (text in ("ab", "a"))
    assert both(left, of_texts(["c"])).empty
    assert not left.empty
