"""Normalization form C: Python and C have what ``tokenizers`` has, for every character and in any amount."""

from __future__ import annotations

import ctypes as ct
import random
from collections.abc import Callable

import pytest
from texts import random_texts
from tokenizers.normalizers import NFC

from chimerac.runtime.reference.normalization import nfc

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
