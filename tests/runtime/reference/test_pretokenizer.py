"""Splitting: Python and C give the pieces of each pattern, and its character classes."""

from __future__ import annotations

import ctypes as ct
import unicodedata
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import regex
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import O200K_PATTERN, STRANGE, random_texts

from chimerac.frontends.tokenizers import unicode_tables
from chimerac.frontends.tokenizers.components import REGEX_OF
from chimerac.runtime.bundle_format.constants import PATTERNS
from chimerac.runtime.reference import unicode_classes
from chimerac.runtime.reference.pretokenizer import pieces
from chimerac.runtime.reference.unicode_classes import class_table, unicode_version

CLASSES = {
    "OTHER": r"[^\s\p{L}\p{M}\p{N}]",
    "UPPER": r"[\p{Lu}\p{Lt}]",
    "LOWER": r"\p{Ll}",
    "LETTER": r"[\p{Lm}\p{Lo}]",
    "MARK": r"\p{M}",
    "NUMBER": r"\p{N}",
    "SPACE": r"\s",
}
EVERY = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)

Cut = Callable[..., list[bytes]]


@pytest.fixture(scope="module")
def in_c(internals: ct.CDLL) -> Cut:
    internals.test_pieces.restype = ct.c_size_t
    internals.test_pieces.argtypes = [ct.c_int32, ct.c_char_p, ct.c_size_t, ct.c_void_p]

    def cut(text: bytes, pattern: str = "o200k") -> list[bytes]:
        ends = (ct.c_uint64 * max(1, len(text)))()
        found = [0, *ends[: internals.test_pieces(PATTERNS.index(pattern), text, len(text), ends)]]
        return [text[a:b] for a, b in pairwise(found)]

    return cut


def matches(pattern: str, text: str) -> str:
    """Everything in a text that tiktoken's own regular expressions match."""
    encoding = tiktoken.Encoding("bytes", pat_str=pattern, mergeable_ranks=BYTE_RANKS, special_tokens={})
    return encoding.decode_bytes(encoding.encode_ordinary(text)).decode()


BYTE_RANKS = {bytes([byte]): byte for byte in range(256)}


@pytest.mark.parametrize("name", CLASSES)
def test_the_classes_are_tiktokens_for_every_character(name: str) -> None:
    assert getattr(unicode_classes, name) == unicode_tables.CLASSES.index(name)
    numbers = class_table()
    expected = [chr(code) for code in np.flatnonzero(numbers == getattr(unicode_classes, name)).tolist()]
    assert matches(CLASSES[name], EVERY) == "".join(c for c in expected if not "\ud800" <= c <= "\udfff")


def test_the_header_is_what_the_generator_makes() -> None:
    assert unicode_version() == unicode_tables.UNICODE_VERSION
    text = unicode_tables.header_text(class_table().tobytes(), unicode_tables.UNICODE_VERSION)
    assert unicode_tables.HEADER.read_text("utf-8") == text


def test_the_generator_knows_the_categories() -> None:
    """Of the characters that this Python's older or newer Unicode has, only few have another category in it."""
    made = np.frombuffer(unicode_tables.class_numbers(unicodedata.category), np.uint8)
    known = np.array([unicodedata.category(chr(code)) != "Cn" for code in range(0x110000)]) & (class_table() != 0)
    differing = np.flatnonzero((made != class_table()) & known)
    assert len(differing) < 10
    assert (made[[9, 13, 0x85, 0x2029]] == unicode_classes.SPACE).all()


def test_the_generator_refuses_what_does_not_fit() -> None:
    numbers = np.array(class_table())
    numbers[0xF0000] = unicode_classes.LETTER
    with pytest.raises(ValueError, match="behind the table"):
        unicode_tables.header_text(numbers.tobytes(), "0")
    numbers = np.array(class_table())
    numbers[: 1 << 17] = np.random.default_rng(1).integers(0, 7, 1 << 17)
    with pytest.raises(ValueError, match="do not fit"):
        unicode_tables.header_text(numbers.tobytes(), "0")


@pytest.fixture(scope="module")
def known_to_regex() -> frozenset[str]:
    """Characters that are of the same class in the package regex, which has a newer Unicode."""
    numbers = class_table()
    same: set[str] = set()
    for name, pattern in CLASSES.items():
        same |= {c for c in regex.findall(pattern, EVERY) if numbers[ord(c)] == getattr(unicode_classes, name)}
    return frozenset(same) | frozenset(map(chr, range(0xDC80, 0xDD00)))


#: Regular expressions of the patterns, one after the other; each cuts what the one before has cut.
CUTS = {
    "o200k": [O200K_PATTERN],
    **{pattern: [REGEX_OF[pattern]] for pattern in ("gpt2", "llama3", "qwen2", "qwen35")},
    "gpt2-digits": [r"\p{N}|[^\p{N}]+", REGEX_OF["gpt2"]],
    "gpt2-digits3": [r"\p{N}{1,3}|[^\p{N}]+", REGEX_OF["gpt2"]],
    "spaces": [r" [^ ]*|[^ ]+"],
    "characters": [r"(?s)."],
}


def test_every_pattern_has_its_expressions() -> None:
    assert {"none", *CUTS} == set(PATTERNS)


@pytest.mark.parametrize("pattern", CUTS)
def test_pieces_are_those_of_the_pattern(pattern: str, known_to_regex: frozenset[str]) -> None:
    """Bytes that are no UTF-8 are lone surrogates to Python: characters that are no letter, mark, number or space."""
    compiled = [regex.compile(one) for one in CUTS[pattern]]
    compared = 0
    for data in random_texts(1, 6000 if pattern == "o200k" else 2000, 20):
        text = data.decode("utf-8", "surrogateescape")
        if known_to_regex.issuperset(text):
            parts = [text]
            for one in compiled:
                parts = [match.group() for part in parts for match in one.finditer(part)]
            assert list(pieces(data, pattern)) == [part.encode("utf-8", "surrogateescape") for part in parts], data
            compared += 1
    assert compared > 1200


@pytest.mark.parametrize("pattern", CUTS)
def test_c_cuts_as_python(in_c: Cut, pattern: str) -> None:
    for data in random_texts(2, 10_000 if pattern == "o200k" else 2000):
        assert in_c(data, pattern) == list(pieces(data, pattern)), data


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text(max_size=40).map(str.encode)))
def test_pieces_are_the_text(data: bytes) -> None:
    for pattern in CUTS:
        assert b"".join(pieces(data, pattern)) == data
        assert all(pieces(data, pattern))


@pytest.mark.parametrize("character", ["a", "A", "é", "日", "\u0301", " ", "\n", "\t", "=", "\x80", "😀", "'"])
def test_runs_are_cut_in_linear_time(in_c: Cut, character: str) -> None:
    """A scanner that reads the rest of the run again for each piece would take hours."""
    data = character.encode("utf-8") * 1_000_000
    for pattern in PATTERNS[1:]:
        found = in_c(data, pattern)
        assert b"".join(found) == data
        assert len(found) <= 2 or (character, pattern) == (" ", "spaces") or pattern == "characters"


@pytest.mark.parametrize(
    "unit", ["aA", "A日", "日A", "\u0301A", " \n", "\n ", " a", "a'", "'s", "1a", "!\u0301", "A\u0301B"]
)
def test_alternations_are_cut_in_linear_time(in_c: Cut, unit: str) -> None:
    short = unit * 50
    for pattern in PATTERNS[1:]:
        assert in_c(short.encode(), pattern) == list(pieces(short.encode(), pattern))
        data = unit.encode() * 100_000
        assert b"".join(in_c(data, pattern)) == data


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("it's", ["it's"]),
        ("I'LL go", ["I'LL", " go"]),
        ("x'ſ", ["x'ſ"]),
        ("x's's", ["x's", "'s"]),
        ("12345", ["123", "45"]),
        ("a  b", ["a", " ", " b"]),
        ("a \n b", ["a", " \n", " b"]),
        ("a   ", ["a", "   "]),
        ("!!\n/\nx", ["!!\n/\n", "x"]),
        (" !a", [" !", "a"]),
        ("HelloWorld", ["Hello", "World"]),
        ("HTTPServer", ["HTTPServer"]),
        ("日AB", ["日", "AB"]),
        ("\u0301AB", ["\u0301", "AB"]),
        ("(ab", ["(ab"]),
        ("\nab", ["\n", "ab"]),
    ],
)
def test_examples(text: str, expected: list[str]) -> None:
    assert [piece.decode() for piece in pieces(text.encode())] == expected


def test_bytes_that_are_no_characters_are_symbols() -> None:
    assert list(pieces(b"ab\xffcd \xe2\x82 1\x80")) == [b"ab", b"\xffcd", b" \xe2\x82", b" ", b"1", b"\x80"]
    assert list(pieces(b"\xed\xa0\x80a")) == [b"\xed\xa0\x80", b"a"]


def test_the_strange_texts_are_strange() -> None:
    """Every class occurs, and what is no UTF-8."""
    found = {int(c) for data in STRANGE for c in class_table()[[ord(x) for x in data.decode("utf-8", "replace")]]}
    assert found == set(range(7))
    assert any(b"\xff" in data for data in STRANGE)
