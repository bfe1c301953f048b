"""Cuts text into the pieces of o200k_base, in Python: the same pieces as ``native/chm_pretokenizer.c``.

The seven alternatives of the pattern, the first that matches:

    [^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
    [^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
    \\p{N}{1,3}
    \\x20?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*
    \\s*[\\r\\n]+
    \\s+(?!\\S)
    \\s+

A byte that is part of no UTF-8 character counts as a character of its own that is no letter, mark, number or space.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from chimerac.runtime.reference.unicode_classes import LETTER, LOWER, MARK, NUMBER, OTHER, SPACE, UPPER, class_table

_BOTH: Final = frozenset((LETTER, MARK))  #: may stand among capitals and among small letters
_CAPITALS: Final = frozenset((UPPER, LETTER, MARK))
_SMALL: Final = frozenset((LOWER, LETTER, MARK))
_SYMBOLS: Final = frozenset((OTHER, MARK))
_LETTERS: Final = frozenset((UPPER, LOWER, LETTER))
_CONTRACTIONS: Final = frozenset(("s", "t", "re", "ve", "m", "ll", "d"))


def pieces(data: bytes) -> Iterator[bytes]:
    """The pieces of a text, in order; together they are the text."""
    text = data.decode("utf-8", "surrogateescape")
    scanner = _Scanner(text)
    at = 0
    while at < len(text):
        after = scanner.end_of_piece(at)
        yield text[at:after].encode("utf-8", "surrogateescape")
        at = after


class _Scanner:
    """Positions are characters; ``_classes`` has one class a character and OTHER behind the end."""

    def __init__(self, text: str) -> None:
        self._text = text
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        self._classes = class_table()[codes].tobytes() + bytes([OTHER])
        self._end = len(text)

    def end_of_piece(self, at: int) -> int:
        text, classes = self._text, self._classes
        kind, character = classes[at], text[at]
        if kind == NUMBER:
            return self._skip(at, frozenset((NUMBER,)), at + 3)
        if character not in "\r\n":
            start = at if kind in _LETTERS else at + 1
            end, has_lower = self._word(start)
            if has_lower:
                return self._contraction(end)
            if kind == MARK:  # a word by itself, before capitals only
                return self._contraction(at + 1)
            if end > start:
                return self._contraction(end)
            symbol = at + (character == " ")
            end = self._skip(symbol, _SYMBOLS)
            if end > symbol:
                while end < self._end and text[end] in "\r\n/":
                    end += 1
                return end
        return self._end_of_space(at)

    def _skip(self, at: int, kinds: frozenset[int], end: int | None = None) -> int:
        """The first place from ``at`` on whose class is another, at most ``end``."""
        end = self._end if end is None else min(end, self._end)
        classes = self._classes
        while at < end and classes[at] in kinds:
            at += 1
        return at

    def _word(self, at: int) -> tuple[int, bool]:
        """(end of capitals and small letters, whether it ends with what a small letter may be)."""
        end = self._skip(at, _CAPITALS)
        if end < self._end and self._classes[end] == LOWER:
            return self._skip(end, _SMALL), True
        for last in range(end - 1, at - 1, -1):
            if self._classes[last] in _BOTH:
                return last + 1, True
        return end, False

    def _contraction(self, at: int) -> int:
        """After an apostrophe and the letters of a contraction, else ``at``; U+017F is another form of s."""
        if self._text[at : at + 1] == "'":
            for size in (1, 2):
                letters = self._text[at + 1 : at + 1 + size]
                if len(letters) == size and letters.replace("ſ", "s").lower() in _CONTRACTIONS:
                    return at + 1 + size
        return at

    def _end_of_space(self, at: int) -> int:
        """Up to the last line end; else all but the last character before something else, and at least one."""
        end = self._skip(at, frozenset((SPACE,)))
        after_line = max(self._text.rfind("\n", at, end), self._text.rfind("\r", at, end)) + 1
        if after_line:
            return after_line
        return end - 1 if end < self._end and end - at > 1 else end
