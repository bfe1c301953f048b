"""``check_grammar``: what the tables of a grammar are said to be, and that the example is a text of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from grammar_tools import accepts, byte_engine

from chimerac.compiler.errors import UserError
from chimerac.compiler.packaging.grammar_packs import read_grammar
from chimerac.compiler.verbs.grammar import check_grammar


def test_a_grammar_with_two_readings(tmp_path: Path) -> None:
    path = tmp_path / "else.lark"
    path.write_text('start: s\ns: "if " s [" else " s] | "x"')
    report = check_grammar(path)
    assert (report.name, report.rules, report.shortest_bytes) == ("else", len(read_grammar(path).rules), 1)
    assert [conflict.split()[0] for conflict in report.conflicts] == ["after"]
    text = "\n".join(report.lines())
    assert "two readings     after" in text
    assert "shortest text    1 byte\n" in text


def test_examples_are_texts_of_the_grammar(tmp_path: Path) -> None:
    path = tmp_path / "words.lark"
    path.write_text('start: ("[" /[a-z]{1,9}/ start? "]")+')
    examples = {check_grammar(path, seed=seed).example for seed in range(4)}
    assert len(examples) == 4
    engine = byte_engine(read_grammar(path))
    assert all(accepts(engine, text) for text in examples)
    assert check_grammar(path, seed=2) == check_grammar(path, seed=2)


def test_a_regular_grammar_needs_no_stack() -> None:
    report = check_grammar("plain_text")
    assert report.opening == 0
    assert "stack            none needed: the grammar is regular" in report.lines()
    assert check_grammar("json").opening > 0


def test_what_is_no_grammar(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("start: a")
    for source in (tmp_path / "gone.lark", tmp_path / "plain.txt", "latin"):
        with pytest.raises(UserError) as caught:
            check_grammar(source)
        assert caught.value.code == "CHM285"


def test_what_a_schema_says_in_vain_is_told(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text('{"type": "null", "x-note": 1' + "".join(f', "vain{i}": 1' for i in range(40)) + "}", "utf-8-sig")
    report = check_grammar(path)
    assert report.ignored[0] == "schema at /x-note: the keyword 'x-note' is unknown and says nothing about values"
    lines = [line for line in report.lines() if line.startswith("ignored ")]
    assert (len(lines), lines[-1]) == (21, "ignored          21 more")
