"""Normalization form C: Python and C have what ``tokenizers`` has, for every character and in any amount."""

from __future__ import annotations

import ctypes as ct
import random
import shutil
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from texts import random_texts
from tokenizers.normalizers import NFC

from chimerac.runtime import load
from chimerac.runtime.reference.normalization import nfc, tidy
from chimerac.runtime.reference.tokenizer import Special, Tokenizer

Normalize = Callable[[bytes], bytes]
LIBRARY = NFC()
MARKS = ("\u0301", "\u0323", "\u0334", "\u0315", "\u0345", "\u05b8", "\u3099", "\u093c")
BASES = (
    "a",
    "e",
    "\u1100",
    "\u1161",
    "\u11a8",
    "\uac00",
    "\u1100\u1161",
    "か",
    "Å",
    "\u212b",
    "\u0958",
    "\U0001d160",
    " ",
)
#: Beginnings of blocks of 2,048 characters with those that normalization changes.
PYTHON_TOO = (0, 0x1000, 0x2000, 0xA000, 0xF000, 0x10000, 0x11000, 0x1C800)


@pytest.fixture(scope="module")
def in_c(internals: ct.CDLL) -> Normalize:
    internals.test_normalize.restype = ct.c_size_t
    internals.test_normalize.argtypes = [ct.c_char_p, ct.c_size_t, ct.c_char_p]

    def normalize(data: bytes) -> bytes:
        room = ct.create_string_buffer(3 * len(data) + 1)
        size = internals.test_normalize(data, len(data), room)
        assert size <= 3 * len(data)
        return room.raw[:size]

    return normalize


def test_every_character_alone_and_between_marks(in_c: Normalize) -> None:
    codes = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    for begin in range(0, len(codes), 2048):
        text = "".join(f"{c}x a\u0315{c}\u0334 {c}\u0301{c}" for c in map(chr, codes[begin : begin + 2048]))
        expected = LIBRARY.normalize_str(text).encode()
        assert in_c(text.encode()) == expected, hex(begin)
        if begin in PYTHON_TOO:
            assert nfc(text.encode()) == expected, hex(begin)


def test_marks_in_any_order(in_c: Normalize) -> None:
    source = random.Random(8)
    for _ in range(3000):
        text = "".join(source.choice(BASES if source.random() < 0.4 else MARKS) for _ in range(source.randrange(12)))
        expected = LIBRARY.normalize_str(text).encode()
        assert (in_c(text.encode()), nfc(text.encode())) == (expected, expected), ascii(text)


def test_bytes_that_are_no_utf_8_stay_and_keep_marks_apart(in_c: Normalize) -> None:
    broken = b"e\xff\xcc\x81 \xcc\x81\xcc"
    assert in_c(broken) == nfc(broken) == broken
    for data in random_texts(9, 3000):
        assert in_c(data) == nfc(data), data


@pytest.mark.parametrize("unit", ["\u0301\u0323", "e\u0323\u0301", "\u0958", "\U0001d160", "\u1100\u1161\u11a8", "日"])
def test_long_texts_take_time_in_proportion(in_c: Normalize, unit: str) -> None:
    """A run of marks is sorted; work that grows with the square of its length would not end."""
    assert in_c((unit * 200_000).encode()) == LIBRARY.normalize_str(unit * 200_000).encode()


def _tidied_by_unicode(text: str) -> str:
    """The rule ``tidy`` from the properties of characters that Python knows, rather than from a list."""
    quotes = dict.fromkeys("`\u00b4\u02bc\u1fef\u1ffd\u2018\u2019\u201a\u201b\u2032\u2039\u203a", "'")
    quotes |= dict.fromkeys("«»“”„‟″", '"') | dict.fromkeys("‐‑‒–—―−", "-") | {"…": "..."}
    hidden = {"\u00ad", "\u200b", "\u2060", "\ufeff"}
    made = []
    for c in text:
        bidirectional = unicodedata.bidirectional(c) in {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
        if c in hidden or c in "\u200e\u200f" or bidirectional:
            continue
        space = unicodedata.category(c) in {"Zs", "Zl", "Zp", "Cc"}
        made.append(" " if space else quotes.get(c, c))
    return " ".join(part for part in "".join(made).split(" ") if part)


@pytest.fixture(scope="module")
def tidy_in_c(internals: ct.CDLL) -> Normalize:
    internals.test_tidy.restype = ct.c_size_t
    internals.test_tidy.argtypes = [ct.c_char_p, ct.c_size_t, ct.c_char_p]

    def normalize(data: bytes) -> bytes:
        room = ct.create_string_buffer(len(data) + 1)
        size = internals.test_tidy(data, len(data), room)
        assert size <= len(data)
        return room.raw[:size]

    return normalize


def test_tidying_every_character(tidy_in_c: Normalize) -> None:
    codes = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    for begin in range(0, len(codes), 4096):
        text = "".join(f"{c}x {c} {c}{c}y" for c in map(chr, codes[begin : begin + 4096]))
        expected = _tidied_by_unicode(text).encode()
        assert tidy_in_c(text.encode()) == expected, hex(begin)
        assert tidy(text.encode()) == expected, hex(begin)
        assert tidy_in_c(expected) == tidy(expected) == expected


def test_tidying_bytes_that_are_no_utf_8(tidy_in_c: Normalize) -> None:
    assert tidy_in_c(b" \xff  \xe2\x80 \r\n") == tidy(b" \xff  \xe2\x80 \r\n") == b"\xff \xe2\x80"
    assert tidy_in_c(b"") == tidy_in_c(b" \t\xe2\x80\x8b ") == b""
    for data in random_texts(10, 3000):
        assert tidy_in_c(data) == tidy(data), data


def test_a_tidied_text_is_in_form_c() -> None:
    """Also where what was left out stood between a letter and its mark."""
    tokenizer = Tokenizer(tuple(bytes([byte]) for byte in range(256)), rules=("nfc", "tidy"))
    for text, expected in (
        ("  Anna\u2019s  room\n", "Anna's room"),
        ("cafe\u200b\u0301 \u2013 bu\u0308ro", "caf\u00e9 - b\u00fcro"),
        ("\u00a0\u201eK\u00fcche\u201c\u2026", '"K\u00fcche"...'),
        ("\u200b \t", ""),
    ):
        assert tokenizer.decode(tokenizer.encode(text)) == expected
        assert unicodedata.is_normalized("NFC", expected)


def test_a_web_bundle_tidies_the_same(make_wasm_toy: Callable[[Tokenizer], Any]) -> None:
    if shutil.which("node") is None:
        pytest.skip("needs Node.js")
    singles = tuple(bytes([byte]) for byte in range(256))
    tokenizer = Tokenizer((*singles, "\u00e9".encode(), b""), (Special("<end>", 257, "end"),), rules=("nfc", "tidy"))
    with load(make_wasm_toy(tokenizer).folder) as session:
        for text in (*random_texts(11, 40), "\u00a0e\u200b\u0301 \u2019 \n".encode()):
            assert session.encode(text) == tokenizer.encode(text), text
