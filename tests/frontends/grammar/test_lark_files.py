"""Grammars in Lark's notation: imports, ignored terminals, and errors with their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from grammar_tools import accepts, byte_engine

from chimerac.compiler.errors import UserError
from chimerac.compiler.packaging.grammar_packs import compile_grammar, read_grammar
from chimerac.frontends.grammar.lark_files import lark_grammar, read_lark


def test_larks_own_library() -> None:
    source = """
    start: (ESCAPED_STRING | SIGNED_NUMBER | CNAME)+
    %import common (ESCAPED_STRING, SIGNED_NUMBER, CNAME, WS, C_COMMENT)
    %ignore WS
    %ignore C_COMMENT
    """
    engine = byte_engine(lark_grammar(source))
    for text in ('"a\\"b" -1.5e3 name', "a /* * / **/ b", 'x "" 3', " a "):
        assert accepts(engine, text), text
    for text in ("", '"a', "a /* b", "a /* b */ */", "$"):
        assert not accepts(engine, text), text


def test_ignored_whitespace_is_capped_and_meant_whitespace_is_not() -> None:
    engine = byte_engine(lark_grammar('start: "a" / +/ "b"\n%ignore /[ \\n]/'), space_cap=2)
    assert accepts(engine, "a" + " " * 20 + "b")
    assert accepts(engine, "a b\n ")
    assert not accepts(engine, "a b\n  ")


def test_keywords_may_be_read_as_names() -> None:
    engine = byte_engine(lark_grammar('start: "if" NAME | NAME\nNAME: /[a-z]+/\n%ignore " "'))
    assert accepts(engine, "if")
    assert accepts(engine, "if x")


def test_case_of_terminals() -> None:
    engine = byte_engine(lark_grammar('start: "select"i /[a-c]/i'))
    assert accepts(engine, "SeLeCtB")
    assert not accepts(engine, "selectd")


def test_frames_by_name() -> None:
    assert byte_engine(lark_grammar('start: "a" x_frame "b"\nx_frame: "c"*')).automaton.machines == 2


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ('start: "a', "my.lark:1:8"),
        ("start: missing", "missing"),
        ('begin: "a"', "start"),
        ("start: /a(?=b)/", "look-ahead"),
        ("start: /a$/", "anchor"),
        ("start: /a\\b/", "not supported"),
        ("start: A\n%declare A", "A"),
        ('start: "a" "b"~', "my.lark"),
        # what Lark lets through: errors of re, or of regex where that is installed, and a slip of its own
        ("start: WORD\nWORD: /[a-zY+/", "my.lark"),
        ("start: NUMBER\nNUMBER: /[0--9]+/", "my.lark"),
        ("start: A\n" + "A: /[" * 50, "my.lark"),
    ],
)
def test_errors(source: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        lark_grammar(source, file="my.lark")
    assert caught.value.code == "CHM280"
    assert says in caught.value.render()


def test_the_place_of_a_terminal_that_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        lark_grammar("start: NAME\n\nNAME: /a(?!b)/", file="my.lark")
    assert str(caught.value.span) == "my.lark:3:1"


def test_files(tmp_path: Path) -> None:
    (tmp_path / "My Words.lark").write_text('start: "a" | other\n%import .part.other\n')
    (tmp_path / "part.lark").write_text('other: "b"')
    grammar = read_lark(tmp_path / "My Words.lark")
    assert grammar.name == "my_words"
    assert accepts(byte_engine(grammar), "b")
    (tmp_path / "s.json").write_text('{"type":"null"}')
    assert accepts(byte_engine(read_grammar(tmp_path / "s.json")), "null")
    for name, code in (("none.lark", "CHM285"), ("none.json", "CHM285"), ("part.txt", "CHM285")):
        if name.endswith("txt"):
            (tmp_path / name).write_text("x")
        with pytest.raises(UserError) as caught:
            read_grammar(tmp_path / name)
        assert caught.value.code == code


def test_one_source_at_a_time() -> None:
    several: tuple[dict[str, Any], ...] = ({}, {"mode": "json", "regex": "a"})
    for arguments in several:
        with pytest.raises(UserError) as caught:
            compile_grammar(**arguments)
        assert caught.value.code == "CHM420"
    with pytest.raises(UserError) as caught:
        compile_grammar(regex="a", whitespace=256)
    assert caught.value.code == "CHM420"
