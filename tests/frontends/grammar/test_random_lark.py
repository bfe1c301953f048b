"""Random small grammars in Lark's notation against Lark's Earley parser: never more texts, fewer only where told."""

from __future__ import annotations

import itertools
import random

import lark
import pytest
from grammar_tools import accepts, byte_engine

from chimerac.compiler.errors import UserError
from chimerac.frontends.grammar.lark_files import lark_grammar
from chimerac.frontends.grammar.lark_size import check_size
from chimerac.passes.grammar_fst import GrammarFst

TERMINALS = [
    '"a"', '"b"', '"ab"', "/a+/", "/a|ab/", "/ab|a/", "/a*?b/", "/a?b/", "/[ab]/", r"/#[^\n]*/", "/ b/", r"/\n/",
    "/a$/", "/^a/", "/(?:a|ab)(?:b|ba)?/", "/a.b/", '"a".."b"', "/(a|b)+?b/", "/b /", "/a{1,2}/", '"a"i',
    r"/(\r?\n[ ]*)+/", "/a(?=b)/", "/[^#]/",
]  # fmt: skip
IGNORED = [
    '" "', "/ +/", r"/\s+/", r"/#[^\n]*/", r"/#[^\n]*\n/", r"/[ \n]/", "/#.*?#/", r"/(\r?\n)+/", r"/ *#[^\n]*/",
    r"/\n+/", "/aa?/", "/[ab]+/", "/#[#a]*/", "/ab?/",
]  # fmt: skip


def sequence(generator: random.Random, names: list[str], depth: int = 0) -> str:
    return " ".join(item(generator, names, depth) for _ in range(generator.randrange(1, 4)))


def item(generator: random.Random, names: list[str], depth: int) -> str:
    kind = generator.random()
    if depth > 2 or kind < 0.5:
        return generator.choice(names)
    inner = sequence(generator, names, depth + 1)
    if kind < 0.65:
        return f"({inner} | {sequence(generator, names, depth + 1)})"
    if kind < 0.8:
        return f"({inner}){generator.choice(['?', '*', '+', '~2'])}"
    return f"[{inner}]"


def grammar(generator: random.Random) -> str:
    terminals = [f"T{index}" for index in range(generator.randrange(1, 4))]
    lines = []
    names = list(terminals)
    if generator.random() < 0.3:
        names.append("x")
        lines.append(f"x: {sequence(generator, names if generator.random() < 0.4 else terminals)}")
    alternatives = [sequence(generator, names) for _ in range(generator.randrange(1, 3))]
    lines.append(f"start: {' | '.join(alternatives)}")
    for name in terminals:
        options = [generator.choice(TERMINALS) for _ in range(1 if generator.random() < 0.8 else 2)]
        lines.append(f"{name}: {' | '.join(options)}")
    for index in range(generator.choice([0, 0, 1, 1, 2])):
        lines += [f"IGNORED{index}: {generator.choice(IGNORED)}", f"%ignore IGNORED{index}"]
    return "\n".join(lines)


def parses(oracle: lark.Lark, text: str) -> bool | None:
    """Whether Lark accepts a text; None where it fails itself."""
    try:
        oracle.parse(text)
    except lark.exceptions.LarkError:
        return False
    except RuntimeError:  # "Earley should not generate multiple start symbol items! Please report this bug."
        return None
    return True


def compare(seed: int, count: int) -> int:
    """The number of grammars that were accepted."""
    generator = random.Random(seed)
    accepted = 0
    for _ in range(count):
        source = grammar(generator)
        try:
            check_size(source, "random")
            found = lark_grammar(source)
            automaton, notes = GrammarFst(minimise=False).compile_with_notes(found)
        except UserError:
            continue
        accepted += 1
        engine = byte_engine(automaton, space_cap=255)
        oracle = lark.Lark(source, parser="earley", lexer="dynamic_complete")
        texts = ["".join(signs) for size in range(4) for signs in itertools.product("ab #\n", repeat=size)]
        texts += ["".join(generator.choices("aabb #\n\rA", k=generator.randrange(4, 9))) for _ in range(40)]
        for text in texts:
            right, own = parses(oracle, text), accepts(engine, text)
            assert right is None or own == right or (notes and right), (source, text, right)
    return accepted


def test_random_grammars() -> None:
    assert compare(1, 60) > 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 20))
def test_many_random_grammars(seed: int) -> None:
    assert compare(seed, 300) > 50


@pytest.mark.parametrize(
    ("source", "texts"),
    [
        ('start: "a" "b"\nCOMMENT: /#[^\\n]*/\n%ignore COMMENT\n%ignore /\\s+/',
         ["ab", "a#b", "a #x\nb", "ab#", "ab #b", "#\nab", "#ab", "a#\n#\nb", "a\n#b\nb #", "a# b", "a#b\n"]),
        ('start: "a" "b"\nCOMMENT: /#[^\\n]*/\n%ignore COMMENT\n%ignore " "',
         ["ab", "a #b", "a b#", "#ab", "a # b"]),
        ('start: (A NL)*\nA: "a"\nNL: /(\\r?\\n *)+/\nC: /#[^\\n]*/\n%ignore C\n%ignore " "',
         ["", "a\n", "a#b\n", "a #\n  a\n", "a#\na", "#", "a\n#"]),
        ('start: /a|ab/ "c"', ["ac", "abc", "c"]),
        ("start: A\nA: /a*?b/", ["b", "aab", "bb", "abb"]),
        ('start: "x" /"(?:[^"]|"")*"/', ['x""', 'x"a""b"', 'x"', 'x"a"b"']),
        ('start: "a"\n%import common.C_COMMENT\n%ignore C_COMMENT', ["a", "/**/a", "/*a*/", "a/**//*x*/", "a/* */ */"]),
        ('start: "a" / b/\n%ignore / +/', ["a b", "a  b", " a b", "a b "]),
        ('start: "a" "b"\n%ignore "\\r\\n"', ["ab", "a\r\nb", "\r\nab", "ab\r\n", "a\rb", "a\nb", "a\r\n\r\nb"]),
        ('start: /a+/\nC: /#[#a]*/\n%ignore C\n%ignore " "', ["# a", "#a", "## a", " # a", "a #", "#  a #a", "# # a"]),
        ('start: "a"+\nC: /#[#a]*/\nW: /[ \\t]{2}/\n%ignore C\n%ignore W', ["a  a", "a#  a", "# a", "#  a", "  a"]),
    ],
)  # fmt: skip
def test_what_is_ignored_and_what_terminals_mean(source: str, texts: list[str]) -> None:
    oracle = lark.Lark(source, parser="earley", lexer="dynamic_complete")
    engine = byte_engine(lark_grammar(source), space_cap=255)
    for text in texts:
        assert accepts(engine, text) == parses(oracle, text), text


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("start: A B\nA: /a$/\nB: /b/", "an anchor is not supported"),
        ("start: A\nA: /\\Aa/", "an anchor is not supported"),
        ("start: A\nA: /a(?!b)/", "look-ahead is not supported"),
        ('start: "a"\nX: /aaa?/\n%ignore X', "cannot be told from the next character"),
    ],
)
def test_what_is_refused_by_name(source: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        lark_grammar(source)


def test_an_ambiguous_grammar_has_no_dead_end() -> None:
    with pytest.raises(UserError) as caught:
        byte_engine(lark_grammar('start: "a" start "a" | "a"'))
    assert caught.value.code in ("CHM283", "CHM284")
