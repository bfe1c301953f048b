"""Sets of characters, and their UTF-8 as an expression over bytes."""

from __future__ import annotations

import bisect
import functools
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np

from chimerac.compiler.ir.grammar import Bytes, Concat, Expression, Literal, choice

#: Ascending ranges (first, last) of code points, apart from each other.
CharSet = tuple[tuple[int, int], ...]

LAST: Final = 0x10FFFF
#: Every character; surrogates are none.
ALL: Final[CharSet] = ((0, 0xD7FF), (0xE000, LAST))


def char_set(ranges: Iterable[tuple[int, int]]) -> CharSet:
    """Ranges in any order, joined; surrogates left out."""
    joined: list[list[int]] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1][1] = max(joined[-1][1], last)
        else:
            joined.append([first, last])
    return _without_surrogates((first, last) for first, last in joined)


def _without_surrogates(ranges: Iterable[tuple[int, int]]) -> CharSet:
    found = []
    for first, last in ranges:
        if first < 0xD800:
            found.append((first, min(last, 0xD7FF)))
        if last > 0xDFFF:
            found.append((max(first, 0xE000), last))
    return tuple((first, last) for first, last in found if first <= last)


def single(*characters: str) -> CharSet:
    """These characters."""
    return char_set((ord(c), ord(c)) for c in "".join(characters))


def inverted(chars: CharSet) -> CharSet:
    """All other characters."""
    found, position = [], 0
    for first, last in chars:
        if first > position:
            found.append((position, first - 1))
        position = last + 1
    if position <= LAST:
        found.append((position, LAST))
    return _without_surrogates(found)


def intersection(left: CharSet, right: CharSet) -> CharSet:
    """The characters in both."""
    found, i, j = [], 0, 0
    while i < len(left) and j < len(right):
        first, last = max(left[i][0], right[j][0]), min(left[i][1], right[j][1])
        if first <= last:
            found.append((first, last))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return tuple(found)


def difference(left: CharSet, right: CharSet) -> CharSet:
    """The characters of ``left`` that are not in ``right``."""
    return intersection(left, inverted(right))


@functools.cache
def of_pattern(pattern: str) -> CharSet:
    """The characters that a class of Python's ``re`` has, such as ``\\w``."""
    return intersection(ALL, tuple((m.start(), m.end() - 1) for m in re.finditer(f"{pattern}+", _all())))


@functools.cache
def category(name: str) -> CharSet:
    """The characters of a Unicode general category, such as L or Lu; empty if there is none."""
    letters = _categories()
    holds = np.ones(len(letters), bool)
    for place, letter in enumerate(name.encode("ascii", "replace")):
        holds &= letters[:, place] == letter if place < 2 else False
    holds[0xD800:0xE000] = False
    edges = np.flatnonzero(np.diff(holds, prepend=False, append=False))
    return tuple(zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True))


@functools.cache
def _all() -> str:
    """Every code point in order, surrogates too."""
    return "".join(map(chr, range(LAST + 1)))


@functools.cache
def _categories() -> np.ndarray:
    """The two letters of each code point's general category, u8[LAST + 1, 2]."""
    return np.frombuffer("".join(map(unicodedata.category, _all())).encode(), np.uint8).reshape(-1, 2)


@functools.cache
def _cases(fold: Callable[[str], Iterable[str]]) -> dict[int, tuple[int, ...]]:
    """For each character that has others of the same letter, all of these; ``fold`` names some of each."""
    leader: dict[str, str] = {}

    def of(c: str) -> str:
        while leader.get(c, c) != c:
            c = leader[c]
        return c

    members: dict[str, list[str]] = {}
    for point in (*range(0xD800), *range(0xE000, LAST + 1)):
        c = chr(point)
        if c.lower() == c == c.upper() and c.casefold() == c:
            continue
        for other in fold(c):
            leader[of(other)] = leader.setdefault(of(c), of(c))
    for c in leader:
        if len(c) == 1:
            members.setdefault(of(c), []).append(c)
    return {ord(c): tuple(sorted(map(ord, group))) for group in members.values() if len(group) > 1 for c in group}


def _pythons(c: str) -> list[str]:
    """What Python's ``re`` takes for the same letter: one letter in other cases, or with the same cases of several."""
    # the only one whose small letter has two characters, of which ``re`` takes the first
    found = ["i" if c == "\u0130" else c, *(other for other in (c.lower(), c.upper(), c.title()) if len(other) == 1)]
    return [*found, c.upper()] if len(c.upper()) > 1 else found


def _simple(c: str) -> list[str]:
    """What ECMAScript takes for the same letter: simple case folding."""
    folds = c.casefold() if len(c.casefold()) == 1 else c.lower()
    return [folds] if len(folds) == 1 else [c]


def folded(chars: CharSet) -> CharSet:
    """The characters and those that Python's ``re`` takes for the same without regard to case."""
    return _with_cases(chars, _cases(_pythons))


def simply_folded(chars: CharSet) -> CharSet:
    """The characters and those that have the same simple case folding, as in ECMAScript."""
    return _with_cases(chars, _cases(_simple))


def ascii_folded(chars: CharSet) -> CharSet:
    """The characters and, of ASCII's letters, the other cases."""
    small, large = intersection(chars, ((97, 122),)), intersection(chars, ((65, 90),))
    moved = [(a - 32, b - 32) for a, b in small] + [(a + 32, b + 32) for a, b in large]
    return char_set([*chars, *moved])


def _with_cases(chars: CharSet, cases: dict[int, tuple[int, ...]]) -> CharSet:
    if len(chars) == 1 and chars[0][1] - chars[0][0] < 64:
        points: Iterable[int] = range(chars[0][0], chars[0][1] + 1)
    else:
        begins = [first for first, _ in chars]
        points = [p for p in cases if (i := bisect.bisect_right(begins, p) - 1) >= 0 and p <= chars[i][1]]
    return char_set([*chars, *((other, other) for point in points for other in cases.get(point, ()))])


@functools.lru_cache(maxsize=4096)
def utf8(chars: CharSet) -> Expression:
    """One character of a set, as UTF-8."""
    if len(chars) == 1 and chars[0][0] == chars[0][1]:
        return Literal(chr(chars[0][0]).encode())
    paths: list[tuple[tuple[int, int], ...]] = []
    for first, last in chars:
        _paths(first, last, paths)
    return _tree(paths)


def _paths(first: int, last: int, paths: list[tuple[tuple[int, int], ...]]) -> None:
    """Split a range of code points so that each part is a product of byte ranges."""
    for bound in (0x7F, 0x7FF, 0xFFFF):
        if first <= bound < last:
            _paths(first, bound, paths)
            _paths(bound + 1, last, paths)
            return
    if last <= 0x7F:
        paths.append(((first, last),))
        return
    for shift in (6, 12, 18):
        low = (1 << shift) - 1
        if first & ~low != last & ~low:
            if first & low:
                _paths(first, first | low, paths)
                _paths((first | low) + 1, last, paths)
                return
            if last & low != low:
                _paths(first, (last & ~low) - 1, paths)
                _paths(last & ~low, last, paths)
                return
    left, right = chr(first).encode(), chr(last).encode()
    paths.append(tuple(zip(left, right, strict=True)))


def _tree(paths: Sequence[tuple[tuple[int, int], ...]]) -> Expression:
    """Paths as a choice by the first byte, first bytes with the same rest together."""
    rests: dict[tuple[int, int], list[tuple[tuple[int, int], ...]]] = {}
    for path in paths:
        rests.setdefault(path[0], []).append(path[1:])
    heads: dict[tuple[tuple[tuple[int, int], ...], ...], list[tuple[int, int]]] = {}
    for head, rest in rests.items():
        heads.setdefault(tuple(rest), []).append(head)
    options: list[Expression] = []
    for tails, leads in heads.items():
        first = Bytes(tuple(leads))
        options.append(first if tails == ((),) else _then(first, _tree(tails)))
    return choice(options)


def _then(first: Bytes, rest: Expression) -> Expression:
    return Concat((first, *rest.parts)) if isinstance(rest, Concat) else Concat((first, rest))
