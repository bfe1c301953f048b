"""Fixed texts: how a line of them is read, what is no list of them, and which texts the grammar has."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from grammar_tools import accepts, byte_engine
from hypothesis import given, settings
from hypothesis import strategies as st

from chimerac.compiler.errors import UserError
from chimerac.compiler.packaging.grammar_packs import compile_grammar
from chimerac.frontends.grammar.choices import choices_grammar, read_choices


def test_the_texts_and_no_others() -> None:
    engine = byte_engine(choices_grammar(["yes", "yesterday", "ñ", "yes", " on", "a,b"]))
    for text in ("yes", "yesterday", "ñ", " on", "a,b"):
        assert accepts(engine, text)
    for text in ("ye", "yesterda", "", "on", "a", "b", "yes\n"):
        assert not accepts(engine, text)


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ("on,off", ["on", "off"]),
        ("on", ["on"]),
        (" on, off ", [" on", " off "]),
        ('"a,b",c', ["a,b", "c"]),
        ('"say ""hi""",no', ['say "hi"', "no"]),
        ("it's,5\" disk", ["it's", '5" disk']),
        ('"a\nb",c', ["a\nb", "c"]),
        ("ñ,😀", ["ñ", "😀"]),
    ],
)
def test_lines(line: str, texts: list[str]) -> None:
    assert read_choices(line) == texts


@pytest.mark.parametrize("line", ["", ",", "a,,b", "a,", ",a", '"a', '"a"b', 'a,"",b'])
def test_lines_that_are_refused(line: str) -> None:
    with pytest.raises(UserError) as caught:
        read_choices(line)
    assert caught.value.code == "CHM280"


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.text("ab,\"' \té", min_size=1, max_size=5), min_size=1, max_size=5))
def test_what_a_spreadsheet_writes_is_read(texts: list[str]) -> None:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(texts)
    assert read_choices(line.getvalue()) == texts


@pytest.mark.parametrize(
    ("choices", "code"),
    [
        ([], "CHM280"),
        (["a", ""], "CHM280"),
        (["a\ud800"], "CHM280"),
        ("yes", "CHM420"),
        ([1, 2], "CHM420"),
        ([["a"]], "CHM420"),
        ({"a"}, "CHM420"),
        (5, "CHM420"),
        ([None], "CHM420"),
        ([b"a"], "CHM420"),
        (["a" * (1 << 20)], "CHM282"),
    ],
)
def test_what_is_no_list_of_texts(choices: Any, code: str) -> None:
    with pytest.raises(UserError) as caught:
        compile_grammar(choices=choices)
    assert caught.value.code == code


def test_no_others_have_wrong_types_either() -> None:
    for arguments in ({"regex": 5}, {"regex": b"a"}, {"lark": 5}, {"lark": b"start: A"}):
        with pytest.raises(UserError) as caught:
            compile_grammar(**arguments)
        assert caught.value.code == "CHM420"
