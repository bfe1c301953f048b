"""Hostile sizes and bytes end fast, with a place, and never with another exception."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from config_fixtures import SMALL

from chimerac.compiler.errors import UserError
from chimerac.frontends.config import load, loads
from chimerac.frontends.config.source import MAX_BYTES, decode
from chimerac.frontends.config.structure import MAX_DEPTH, MAX_MARKS


def _error(text: str) -> UserError:
    with pytest.raises(UserError) as caught:
        loads(text, "f")
    return caught.value


def _calls(function: Callable[[], object]) -> int:
    """How many functions run while ``function`` does: a measure of work that a busy machine does not change."""
    count = 0

    def note(*_: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("opening", ["[", "{", "[{", '{"a":[', "/**/["])
def test_deep_nesting(opening: str) -> None:
    error = _error("{a: " + opening * 60_000)
    work = [_calls(lambda n=n: _error("{a: " + opening * n)) for n in (600, 6_000)]  # type: ignore[misc]
    assert work[1] < 12 * work[0]
    assert error.code == "CHM101"
    assert "deeper than 64" in error.message
    assert error.span is not None
    assert len(error.span.caret()) < 300


def test_depth_at_the_limit() -> None:
    inside = MAX_DEPTH - 1
    at_limit = _error("{auto_map: " + "[" * inside + "]" * inside + "}")
    assert at_limit.code != "CHM101"
    over = _error("{auto_map: " + "[" * (inside + 1) + "]" * (inside + 1) + "}")
    assert over.code == "CHM101"
    brackets_in_strings = _error('{auto_map: "' + "[" * 1000 + '"} // ' + "{" * 1000)
    assert brackets_in_strings.code != "CHM101"


def test_size() -> None:
    filler = "x" * (MAX_BYTES - 20)
    assert _error(f'{{name: "{filler}"}}').code != "CHM101"
    for text in ("x" * (MAX_BYTES + 1), "é" * (MAX_BYTES // 2 + 1)):
        error = _error(text)
        assert error.code == "CHM101"
        assert "1,048,57" in error.message


@pytest.mark.parametrize("piece", ["1,", "[],", "#\n", '"a":', "1:"])
def test_marks(piece: str) -> None:
    """A short text can have many parts, which take time each."""
    over = _error("{auto_map: [" + piece * MAX_MARKS + "]}")
    assert over.code == "CHM101"
    assert f"{MAX_MARKS:,}" in over.message
    assert over.span is not None
    most = MAX_MARKS - 10 if piece == "#\n" else MAX_MARKS // 4
    assert _error("{auto_map: [" + piece * most + "1]}").code != "CHM101"


def test_file_size_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "big.chimera"
    with path.open("wb") as file:
        file.truncate(1 << 32)
    with pytest.raises(UserError, match="limit") as caught:
        load(path)
    assert caught.value.code == "CHM101"


@pytest.mark.parametrize(
    ("data", "line", "column", "message"),
    [
        (b"{a: 1,\n b: \xff}", 2, 5, "0xff"),
        (b'{a: "\xc3("}', 1, 6, "0xc3"),
        ("{é: 1, b: ".encode() + b"\xe9}", 1, 11, "0xe9"),
        (b"\xff\xfe{\x00", 1, 1, "0xff"),
        (b"\xed\xa0\x80", 1, 1, "0xed"),
    ],
)
def test_invalid_utf8(data: bytes, line: int, column: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        decode(data, "f")
    error = caught.value
    assert error.code == "CHM101"
    assert message in error.message
    assert error.span is not None
    assert (error.span.line, error.span.column) == (line, column)
    path = tmp_path / "bad.chimera"
    path.write_bytes(data)
    with pytest.raises(UserError, match="UTF-8"):
        load(path)


@pytest.mark.parametrize(("character", "name"), [("\0", "NUL"), ("\ud800", "U+D800")])
def test_forbidden_characters(character: str, name: str) -> None:
    error = _error(f'{{a: 1,\n b: "{character}"}}')
    assert error.code == "CHM101"
    assert name in error.message
    assert error.span is not None
    assert (error.span.line, error.span.column) == (2, 6)


def test_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "bom.chimera"
    path.write_bytes(b"\xef\xbb\xbf" + SMALL.encode())
    assert load(path) == loads(SMALL)


def test_one_long_line_is_cut() -> None:
    error = _error("{" + "a: 1, " * 20_000 + "a 2}")
    assert all(len(line) < 130 for line in error.render().split("\n"))


def test_work_grows_with_the_number_of_values_and_no_faster() -> None:
    def read(count: int) -> None:
        assert _error("{token_ids: [" + "1," * count + "]}").code == "CHM111"

    read(30_000)
    work = [_calls(lambda n=n: read(n)) for n in (300, 3_000)]  # type: ignore[misc]
    assert work[1] < 12 * work[0]
