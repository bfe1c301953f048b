"""Syntax: what is accepted, and the place and words of each mistake."""

from __future__ import annotations

import pytest

from chimerac.compiler.errors import UserError
from chimerac.frontends.config.parse import parse
from chimerac.frontends.config.source import make_source
from chimerac.frontends.config.tree import Array, Object, Scalar

FENCED = '| { |\n| "a": {"b": 1}, |\n|\n| "c": [1, |\n| %s |\n| } |'

#: text, code, line, column, width, part of the message, part of the hint
MISTAKES = [
    ("{a: 12 b: 3}", "CHM102", 1, 6, 1, "missing ','", "before 'b'"),
    ('a: 1,\nb: "x"\nc: 3', "CHM102", 2, 6, 1, "missing ','", "before 'c'"),
    ("{a: [1 2]}", "CHM102", 1, 6, 1, "missing ','", "before '2'"),
    ('{"a" 1}', "CHM102", 1, 6, 1, "missing ':'", "key: value"),
    ("{a: 1,\n  width 12}", "CHM102", 2, 9, 2, "missing ':' after the key width", "key: value"),
    ("{a = 1}", "CHM102", 1, 4, 1, "found '='", "key: value"),
    ("{a:: 1}", "CHM102", 1, 4, 1, "unexpected ':'", "colon"),
    ("{a: 1; b: 2}", "CHM102", 1, 6, 1, "unexpected ';'", "commas"),
    ("{a: 1,, b: 2}", "CHM102", 1, 7, 1, "no value before it", "remove"),
    ("{a:}", "CHM102", 1, 4, 1, "expected a value", "write the value"),
    ("{a: {b: [1, 2}", "CHM102", 1, 14, 1, "can't close the '['", "put ']'"),
    ("{a: [1,\n2,\n3", "CHM102", 1, 5, 1, "never closed", "add ']'"),
    ("{a: 1}}", "CHM102", 1, 7, 1, "closes nothing", "remove"),
    ("{a: 1} {b: 2}", "CHM102", 1, 8, 1, "unexpected '{'", None),
    ('{a: "xy\n}', "CHM102", 1, 5, 3, "never closed", "same line"),
    ('{a: "xy', "CHM102", 1, 5, 3, "never closed", "closing '\"'"),
    ("{'a': 1}", "CHM102", 1, 2, 1, "single quotes", "double quotes"),
    ("{a: “x”}", "CHM102", 1, 5, 1, "quote “", "double quotes"),
    ('{a: "\\x41"}', "CHM102", 1, 6, 2, "unknown escape \\x", "write \\\\"),
    ('{a: "\\u12"}', "CHM102", 1, 6, 2, "unknown escape \\u", "four hexadecimal"),
    ('{a: "\\ud800"}', "CHM102", 1, 5, 8, "surrogate pair", "together"),
    ('{a: "b\tc"}', "CHM102", 1, 7, 1, "a tab", "\\t"),
    ('{a: "b\x07c"}', "CHM102", 1, 7, 1, "control character U+0007", "\\u0007"),
    ("{a:\u00a01}", "CHM102", 1, 4, 1, "invisible character U+00A0", "space"),
    ("{a: NaN}", "CHM102", 1, 5, 3, "NaN is not a number", "finite"),
    ("{a: -Infinity}", "CHM102", 1, 5, 9, "not a number", "finite"),
    ("{a: 1e999}", "CHM102", 1, 5, 5, "too large", None),
    ("{a: 01}", "CHM102", 1, 5, 2, "not a valid number", "leading zero"),
    ("{a: 0x1F}", "CHM102", 1, 5, 4, "not a valid number", "decimal"),
    ("{a: .5}", "CHM102", 1, 5, 2, "not a valid number", "both sides"),
    ("{a: 5.}", "CHM102", 1, 5, 2, "not a valid number", "both sides"),
    ("{a: +1}", "CHM102", 1, 5, 2, "not a valid number", "remove the '+'"),
    ("{a: 1_000}", "CHM102", 1, 5, 5, "not a valid number", "without '_'"),
    ("{a: 350M}", "CHM102", 1, 5, 4, "not a valid number", '"350M"'),
    (f"{{a: {'1' * 65}}}", "CHM102", 1, 5, 65, "65 characters", None),
    ("{a: True}", "CHM102", 1, 5, 4, "unknown word True", "write true"),
    ("{a: truex}", "CHM102", 1, 5, 5, "in place of a value", '"truex"'),
    ("{a: fast}", "CHM102", 1, 5, 4, "in place of a value", '"fast"'),
    ("{5: 1}", "CHM102", 1, 2, 1, "start with a digit", '"5"'),
    ("[1]", "CHM102", 1, 1, 1, "expected a key", "key: value"),
    ("a", "CHM102", 1, 2, 1, "ends after a key", "key: value"),
    ("a: ", "CHM102", 1, 3, 1, "ends where a value", "write the value"),
    ("{a: 1 /* b }", "CHM102", 1, 7, 2, "comment is never closed", "*/"),
    ("{a: 1, 'b': 2, c: [}", "CHM102", 1, 8, 1, "single quotes", "double quotes"),
    ('{a: 1, b: 2, "a": 3}', "CHM103", 1, 14, 3, "'a' is here twice; first in line 1, column 2", "remove"),
    ("{a: |}", "CHM102", 1, 5, 1, "unexpected '|'", "two ends"),
    (FENCED % "2}", "CHM102", 5, 4, 1, "can't close the '['", "put ']'"),
    (FENCED % "2], 'd': 3", "CHM102", 5, 7, 1, "single quotes", "double quotes"),
    (FENCED % '2] "d": 3', "CHM102", 5, 4, 1, "missing ','", 'before "d"'),
    (FENCED % '2], "c": 3', "CHM103", 5, 7, 3, "'c' is here twice; first in line 4, column 3", "remove"),
    ("| { |\n| a: 1\n| } |", "CHM104", 2, 6, 1, "doesn't end with '|'", "two '|'"),
    ("| { |\na: 1 |\n| } |", "CHM104", 2, 1, 1, "doesn't start with '|'", "two '|'"),
]


@pytest.mark.parametrize(("text", "code", "line", "column", "width", "message", "hint"), MISTAKES)
def test_mistakes(text: str, code: str, line: int, column: int, width: int, message: str, hint: str | None) -> None:
    with pytest.raises(UserError) as caught:
        parse(make_source(text, "f"))
    error = caught.value
    assert error.code == code
    assert message in error.message
    assert hint is None or hint in (error.hint or "")
    assert error.span is not None
    assert (error.span.file, error.span.line, error.span.column, error.span.width) == ("f", line, column, width)
    assert error.span.text == text.split("\n")[line - 1]
    quoted, underline = error.span.caret().split("\n")
    margin = len(str(line)) + 5
    assert underline == " " * (margin - 2) + "| " + " " * (column - 1) + "^" * width
    assert quoted.startswith(f"  {line} | ")


def test_repeated_keys_are_reported_together() -> None:
    with pytest.raises(UserError) as caught:
        parse(make_source("{a: 1, a: 2, b: {c: 1, c: 2}}", "f"))
    assert caught.value.render().count("CHM103") == 2


def test_own_form() -> None:
    text = """
    # hash, // inside it
    a: 1, // slashes
    "b c": [1, 2.5, -3e2, true, false, null, "x // # /* y",], /* block
    over lines **/ §: {d_1: "\\u00e9\\n\\ud83d\\ude00",},
    """
    tree = parse(make_source(text, "f"))
    assert list(tree.entries) == ["a", "b c", "§"]
    items = tree.get("b c")
    assert isinstance(items, Array)
    assert [item.value for item in items.items if isinstance(item, Scalar)] == [
        1, 2.5, -300.0, True, False, None, "x // # /* y",
    ]  # fmt: skip
    inner = tree.get("§")
    assert isinstance(inner, Object)
    value = inner.get("d_1")
    assert isinstance(value, Scalar)
    assert value.value == "é\n😀"
    assert (value.span.line, value.span.column) == (5, 29)


@pytest.mark.parametrize(
    "text", ["", " \n", "{}", "{ }", "// nothing", "|\n|", "| { } |", "\ufeff{}".encode().decode("utf-8-sig")]
)
def test_empty_texts(text: str) -> None:
    assert not parse(make_source(text, "f")).entries


def test_line_ends_and_tabs() -> None:
    tree = parse(make_source("{\r\n\ta: 1,\r\n\tb: 2\r\n}\r\n", "f"))
    node = tree.get("b")
    assert node is not None
    assert (node.span.line, node.span.column, node.span.text) == (3, 5, "\tb: 2")
    fenced = parse(make_source("| { |\r\n|\r\n| a: 1 |\r\n| } |\r\n", "f"))
    assert list(fenced.entries) == ["a"]
