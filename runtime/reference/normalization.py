"""What is done with a text before it is cut: form C by the tables of ``native/chm_normal_tables.h``, and tidying."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from typing import Final

from chimerac.runtime.bundle_format import NATIVE_DIRECTORY

_HANGUL, _L, _V, _T = 0xAC00, 0x1100, 0x1161, 0x11A7
_N_L, _N_V, _N_T = 19, 21, 28
_SIMPLE: Final = re.compile("[\0-\u02ff]*")  #: characters that are as they are


def nfc(data: bytes) -> bytes:
    """The normalized text; bytes that are part of no UTF-8 character stay as they are."""
    text = data.decode("utf-8", "surrogateescape")
    if _SIMPLE.fullmatch(text):
        return data
    characters = [part for character in text for part in _parts(ord(character))]
    composed = _composed(_ordered(characters))
    return "".join(map(chr, composed)).encode("utf-8", "surrogateescape")


_TIDY: Final[dict[int, str]] = {
    **dict.fromkeys((*range(0x21), *range(0x7F, 0xA1), 0x1680, *range(0x2000, 0x200B)), " "),
    **dict.fromkeys((0x2028, 0x2029, 0x202F, 0x205F, 0x3000), " "),
    **dict.fromkeys((0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060, *range(0x2066, 0x206A), 0xFEFF), ""),
    **dict.fromkeys((0x60, 0xB4, 0x2BC, 0x1FEF, 0x1FFD, *range(0x2018, 0x201C), 0x2032, 0x2039, 0x203A), "'"),
    **dict.fromkeys((0xAB, 0xBB, *range(0x201C, 0x2020), 0x2033), '"'),
    **dict.fromkeys((*range(0x2010, 0x2016), 0x2212), "-"),
    0x2026: "...",
}


def tidy(data: bytes) -> bytes:
    """The text as ``native/chm_tidy.c`` has it: spaces, quotes and dashes in one form, nothing at the ends."""
    text = data.decode("utf-8", "surrogateescape").translate(_TIDY)
    return re.sub(" +", " ", text).strip(" ").encode("utf-8", "surrogateescape")


def _array(name: str) -> list[int]:
    text = (NATIVE_DIRECTORY / "chm_normal_tables.h").read_text("utf-8")
    body = re.findall(rf"{name}\[\d+\] = \{{([\d,\s]*)\}}", text)[0]
    return [int(number) for number in body.split(",") if number.strip()]


@cache
def _classes() -> dict[int, int]:
    """Combining classes that are not 0."""
    runs = _array("chm_classes")
    ends = [*(run >> 8 for run in runs[1:]), 0x110000]
    return {code: run & 255 for run, end in zip(runs, ends, strict=True) if run & 255 for code in range(run >> 8, end)}


@cache
def _decompositions() -> dict[int, tuple[int, int]]:
    starts, numbers = _array("chm_starts"), _array("chm_numbers")
    lengths = [after - before for before, after in pairwise(numbers)]
    codes = [start + k for start, length in zip(starts, lengths, strict=True) for k in range(length)]
    rows = zip(codes, _array("chm_firsts"), _array("chm_seconds"), _array("chm_highs"), strict=True)
    return {code: (first | (high & 15) << 16, second | high >> 4 << 16) for code, first, second, high in rows}


@cache
def _compositions() -> dict[tuple[int, int], int]:
    parts = list(_decompositions().items())
    return {pair: code for code, pair in (parts[k] for k in _array("chm_composed"))}


def _parts(code: int) -> list[int]:
    """What a character is made of."""
    index = code - _HANGUL
    if 0 <= index < _N_L * _N_V * _N_T:
        last = [_T + index % _N_T] if index % _N_T else []
        return [_L + index // (_N_V * _N_T), _V + index % (_N_V * _N_T) // _N_T, *last]
    behind: list[int] = []
    while code in _decompositions():
        code, second = _decompositions()[code]
        behind += [second] if second else []
    return [code, *reversed(behind)]


def _ordered(characters: list[int]) -> list[tuple[int, int]]:
    """(character, class), marks side by side by class, equals as they are."""
    result: list[tuple[int, int]] = []
    marks: list[tuple[int, int]] = []
    for code in characters:
        kind = _classes().get(code, 0)
        if kind:
            marks.append((code, kind))
            continue
        result += [*sorted(marks, key=lambda mark: mark[1]), (code, 0)]
        marks = []
    return [*result, *sorted(marks, key=lambda mark: mark[1])]


def _composed(characters: list[tuple[int, int]]) -> list[int]:
    result: list[int] = []
    starter, before = -1, 0
    for code, kind in characters:
        both = _pair(result[starter], code) if starter >= 0 and (before < kind or not before) else 0
        if both:
            result[starter] = both
            continue
        if not kind:
            starter = len(result)
        before = kind
        result.append(code)
    return result


def _pair(first: int, second: int) -> int:
    """What two characters become, or 0."""
    if _L <= first < _L + _N_L and _V <= second < _V + _N_V:
        return _HANGUL + ((first - _L) * _N_V + second - _V) * _N_T
    index = first - _HANGUL
    if 0 <= index < _N_L * _N_V * _N_T and index % _N_T == 0 and _T < second < _T + _N_T:
        return first + second - _T
    return _compositions().get((first, second), 0)
