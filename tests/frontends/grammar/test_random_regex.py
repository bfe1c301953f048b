"""Random regular expressions and texts: what is accepted means what Python's ``re`` says, and is accepted by it."""

from __future__ import annotations

import random
import re
import warnings

import pytest

from chimerac.compiler.errors import UserError
from chimerac.frontends.grammar import characters as ch
from chimerac.frontends.grammar.regex import parse
from chimerac.frontends.grammar.regex_language import automaton, language
from chimerac.frontends.grammar.regex_tree import Chars

PIECES = [
    "a", "b", "c", "A", "s", "K", "é", "ß", "İ", "ı", "ſ", "1", "7", "0", "_", "#", "-", "^", "$", ".", "|", "|", "(",
    "(?:", ")", ")", ")", "(?i)", "(?i:", "(?s:", "(?x:", "(?-i:", "(?a:", "(?a)", "(?x)", "(?s)", "(?m)", "(?=",
    "(?!", "(?<=", "(?P<n>", "(?P=n)", "(?#c)", r"(?#\))", "(?>", "(?ix-s:", "[", "]", "[^", "[a-c]", "[^b]", "[]a]",
    r"[\d-]", "[a-", r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", r"\b", r"\B", r"\A", r"\Z", r"\0", r"\1", r"\12",
    r"\101", r"\08", r"\377", r"\400", r"\x41", r"\u00e9", r"\U0001f600", r"\N{DIGIT_ONE}", r"\a", r"\f", r"\n",
    "\\\\", r"\.", r"\-", r"\]", r"\q", r"\p{L}", "*", "+", "?", "*?", "+?", "??", "*+", "{2}", "{1,2}", "{,2}",
    "{2,}", "{,}", "{}", "{1", "{2}?", "{0}", "{0,1}", "}", r"\#", " ", "\t", "\n", r"\ ", "\\\n", "#\\\n",
    r"\N{DIGIT ONE}",
]  # fmt: skip
SIGNS = [*"abcABsSſkKKéÉßẞiIİı170١_ \t\n\r#-^$.][\\\a\f\0😀{}?|,2\x1c\xa0qpL"]
ATOMS = ["a", "b", "c", "[ab]", "[^a]", ".", r"\d", r"\w", "é", r"\s", "K", "", r"\101", r"\n"]
TIMES = ["*", "+", "?", "{2}", "{1,3}", "{,2}", "*?", "+?", "{2,}", "{0}"]


def pieces(generator: random.Random) -> str:
    """Signs in any order: mostly nonsense."""
    return "".join(generator.choice(PIECES) for _ in range(generator.randrange(1, 9)))


def nested(generator: random.Random, depth: int = 0) -> str:
    """An expression that is one."""
    kind = generator.random()
    if depth > 3 or kind < 0.35:
        return generator.choice(ATOMS)

    def inner() -> str:
        return nested(generator, depth + 1)

    if kind < 0.5:
        return inner() + inner()
    if kind < 0.65:
        return f"(?:{inner()}|{inner()})"
    if kind < 0.85:
        return f"(?:{inner()}){generator.choice(TIMES)}"
    if kind < 0.9:
        return f"({generator.choice(['?i:', '?s:', '?a:', '?:'])}{inner()})"
    if kind < 0.95:
        return f"^{inner()}$"
    return f"{generator.choice(['(?=', '(?!'])}{inner()}){inner()}"


def text(generator: random.Random) -> str:
    alphabet = "abc" if generator.random() < 0.4 else SIGNS
    return "".join(generator.choice(alphabet) for _ in range(generator.randrange(6)))


def compare(seed: int, count: int) -> int:
    """The number of expressions that were accepted."""
    generator = random.Random(seed)
    accepted = 0
    for _ in range(count):
        pattern = pieces(generator) if generator.random() < 0.6 else nested(generator)
        try:
            found = automaton(language(parse(pattern), search=False))
        except UserError:
            continue
        accepted += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # sets in sets, which may come to mean something
            oracle = re.compile(pattern)
        for _ in range(20):
            one = text(generator)
            assert found.accepts(one) == (oracle.fullmatch(one) is not None), (pattern, one)
    return accepted


def test_random_expressions() -> None:
    assert compare(1, 500) > 100


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 20))
def test_many_random_expressions(seed: int) -> None:
    assert compare(seed, 10_000) > 2000


def test_cases_are_those_of_re() -> None:
    """Of every character that has another case, the others that ``re`` finds with it."""
    points = (*range(0xD800), *range(0xE000, 0x110000))
    cased = [c for c in map(chr, points) if c.lower() != c or c.upper() != c or c.casefold() != c]
    assert len(cased) > 2500
    whole = "".join(cased)
    sample = {*random.Random(3).sample(cased, 200), *"iIİıſsSKkµμßẞΣσςᾳᾼΐΐﬅﬆǅ"}
    for sign in sorted(sample):
        tree = parse(f"(?i){re.escape(sign)}")
        assert isinstance(tree, Chars)
        found = {c for c in cased if ch.intersection(tree.chars, ch.single(c))}
        assert found == set(re.findall(re.escape(sign), whole, re.IGNORECASE)), sign
