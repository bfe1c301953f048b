"""Cuts text into pieces that no merge crosses, in Python: the same pieces as ``native/chm_pretokenizer.c``.

Of each pattern the first alternative that matches. Those of ``o200k``:

    [^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
    [^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
    \\p{N}{1,3}
    \\x20?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*
    \\s*[\\r\\n]+
    \\s+(?!\\S)
    \\s+

Those of ``llama3``; ``qwen2`` has ``\\p{N}`` in place of ``\\p{N}{1,3}``, ``qwen35`` marks among the letters, too:

    (?i:'s|'t|'re|'ve|'m|'ll|'d)
    [^\\r\\n\\p{L}\\p{N}]?\\p{L}+
    \\p{N}{1,3}
    \\x20?[^\\s\\p{L}\\p{N}]+[\\r\\n]*
    \\s*[\\r\\n]+
    \\s+(?!\\S)
    \\s+

Those of ``gpt2``; ``gpt2-digits`` cuts every number off before that, ``gpt2-digits3`` numbers in threes:

    's|'t|'re|'ve|'m|'ll|'d
    \\x20?\\p{L}+
    \\x20?\\p{N}+
    \\x20?[^\\s\\p{L}\\p{N}]+
    \\s+(?!\\S)
    \\s+

``spaces`` cuts before each space, ``characters`` after each character.

A byte that is part of no UTF-8 character counts as a character of its own that is no letter, mark, number or space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import numpy as np

from chimerac.runtime.bundle_format import constants as c
from chimerac.runtime.reference.unicode_classes import LETTER, LOWER, MARK, NUMBER, OTHER, SPACE, UPPER, class_table

_BOTH: Final = frozenset((LETTER, MARK))  #: may stand among capitals and among small letters
_CAPITALS: Final = frozenset((UPPER, LETTER, MARK))
_SMALL: Final = frozenset((LOWER, LETTER, MARK))
_SYMBOLS: Final = frozenset((OTHER, MARK))
_LETTERS: Final = frozenset((UPPER, LOWER, LETTER))
_CONTRACTIONS: Final = frozenset(("s", "t", "re", "ve", "m", "ll", "d"))
_ALL_LETTERS: Final = frozenset((UPPER, LOWER, LETTER, MARK))
_NUMBERS: Final = frozenset((NUMBER,))


def pieces(data: bytes, pattern: str = c.PATTERN_O200K) -> Iterator[bytes]:
    """The pieces of a text by one of PATTERNS, in order; together they are the text."""
    text = data.decode("utf-8", "surrogateescape")
    end_of_piece = _Scanner(text).of_pattern(pattern)
    at = 0
    while at < len(text):
        after = end_of_piece(at)
        yield text[at:after].encode("utf-8", "surrogateescape")
        at = after


class _Scanner:
    """Positions are characters; ``_classes`` has one class a character and OTHER behind the end."""

    def __init__(self, text: str) -> None:
        self._text = text
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        self._classes = class_table()[codes].tobytes() + bytes([OTHER])
        self._end = len(text)

    def of_pattern(self, pattern: str) -> Callable[[int], int]:
        """The function from a place to the end of the piece that begins there."""
        by_pattern: dict[str, Callable[[int], int]] = {
            c.PATTERN_O200K: self._o200k,
            c.PATTERN_LLAMA3: partial(self._words, 3, _LETTERS),
            c.PATTERN_QWEN2: partial(self._words, 1, _LETTERS),
            c.PATTERN_QWEN35: partial(self._words, 1, _ALL_LETTERS),
            c.PATTERN_GPT2: partial(self._gpt2, 0),
            c.PATTERN_GPT2_DIGITS: partial(self._gpt2, 1),
            c.PATTERN_GPT2_DIGITS3: partial(self._gpt2, 3),
            c.PATTERN_SPACES: self._spaces,
            c.PATTERN_CHARACTERS: lambda at: at + 1,
        }
        return by_pattern.get(pattern, lambda _: self._end)

    def _o200k(self, at: int) -> int:
        text, classes = self._text, self._classes
        kind, character = classes[at], text[at]
        if kind == NUMBER:
            return self._skip(at, _NUMBERS, at + 3)
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

    def _words(self, most_numbers: int, letters: frozenset[int], at: int) -> int:
        """The piece of llama3 and its relatives."""
        kind, character = self._classes[at], self._text[at]
        end = self._contraction(at)
        if end > at:
            return end
        if kind == NUMBER:
            return self._skip(at, _NUMBERS, at + most_numbers)
        if character not in "\r\n":
            start = at if kind in letters else at + 1
            end = self._skip(start, letters)
            if end > start:
                return end
            symbol = at + (character == " ")
            end = self._skip(symbol, _SYMBOLS - letters)
            if end > symbol:
                while end < self._end and self._text[end] in "\r\n":
                    end += 1
                return end
        return self._end_of_space(at)

    def _gpt2(self, digits: int, at: int) -> int:
        """The piece of gpt2; with ``digits`` numbers are pieces of so many at most, and ends of the text for others."""
        if digits and self._classes[at] == NUMBER:
            return self._skip(at, _NUMBERS, at + digits)
        end = self._contraction(at)
        if end > at and self._text[at + 1 : end].isascii() and self._text[at + 1 : end].islower():
            return end
        start = at + (self._text[at] == " ")
        if start < self._end:
            for kinds in (_LETTERS, _NUMBERS, _SYMBOLS):
                if self._classes[start] in kinds and not (digits and kinds is _NUMBERS):
                    return self._skip(start, kinds)
        return self._end_of_space(at, lines=False, before=_NUMBERS if digits else frozenset())

    def _spaces(self, at: int) -> int:
        end = self._text.find(" ", at + 1)
        return self._end if end < 0 else end

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

    def _end_of_space(self, at: int, *, lines: bool = True, before: frozenset[int] = frozenset()) -> int:
        """With ``lines`` up to the last line end; else all but the last character before something else, and at least
        one. A class of ``before`` is as the end of the text."""
        end = self._skip(at, frozenset((SPACE,)))
        after_line = max(self._text.rfind("\n", at, end), self._text.rfind("\r", at, end)) + 1
        if lines and after_line:
            return after_line
        return end - 1 if end < self._end and end - at > 1 and self._classes[end] not in before else end
