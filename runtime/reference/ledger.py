"""The ledger of open obligations in Python, as ``native/chm_ledger.c`` keeps it; docs/ledger.md is the contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from chimerac.runtime.bundle_format import OBLIGATIONS, Ledger
from chimerac.runtime.bundle_format.fstpack import STACK_FRAMES
from chimerac.runtime.bundle_format.grammar_trie import SENTENCE_END, STRUCTURE

#: Tokens after which an obligation is as urgent as can be, in the order of ``OBLIGATIONS``.
DUE: Final = dict(zip(OBLIGATIONS, (512, 256, 2048, 1024, 60, 256), strict=True))
WHOLE: Final = 32640  #: the pressure of 64 obligations that are as urgent as can be
MOST_WEIGHT: Final = 512  #: in 1/256 nat
#: Kinds of frames (docs/fstpack.md) → what they wait for; others are brackets.
_OF_KIND: Final = {
    **dict.fromkeys((17, 18), "end_json_object"),
    **dict.fromkeys((7, 8), "close_fence"),
    **dict.fromkeys((4, 5, 6, 9, 10, 11, 12), "close_string"),
}
#: How a line begins, as far as it tells an item of a list.
_AT_START, _AFTER_SIGN, _IN_NUMBER, _AFTER_NUMBER, _WITHIN = range(5)


@dataclass(frozen=True)
class Debts:
    """What is open.

    Attributes:
        open: obligation → how many, of those that count.
        pressure: of them all, in 32640ths.
    """

    open: dict[str, int]
    pressure: int

    @property
    def fraction(self) -> np.float32:
        """The pressure from 0 to 1."""
        return np.float32(np.float32(self.pressure) / np.float32(WHOLE))

    def weight(self, ledger: Ledger, obligation: str) -> int:
        """What a soft obligation's end is favoured by, in 1/256 nat."""
        return min(ledger.weight * self.pressure // WHOLE, MOST_WEIGHT) if self.open.get(obligation) else 0


@dataclass(frozen=True)
class Open:
    """The ledger of a generation after some tokens: which of them opened what.

    Attributes:
        tokens: of the generation, without an end token.
        sentence: number of the token that opened the sentence, counted from 1, 0 where none is open.
        list: the same of the list.
        line: how the line begins.
        opened: numbers of the tokens that opened the grammar's frames, outermost first.
    """

    tokens: int = 0
    sentence: int = 0
    list: int = 0
    line: int = _AT_START
    opened: tuple[int, ...] = ()

    def taken(self, kept: int, depth: int) -> Open:
        """After one more token, which left ``kept`` of the frames and made them ``depth``."""
        number = self.tokens + 1
        return replace(self, tokens=number, opened=self.opened[:kept] + (number,) * (depth - kept))

    def read(self, text: bytes, soft: int) -> Open:
        """After the text of the token that was just taken, of prose; ``soft``: its classes."""
        sentence, found, line = self.sentence, self.list, self.line
        if soft & SENTENCE_END:
            sentence = 0
        elif not sentence and not soft & STRUCTURE:
            sentence = self.tokens
        for byte in text:
            if line == _AT_START and byte == ord("\n"):
                found = 0
            before, line = line, _following(line, byte)
            if before in (_AFTER_SIGN, _AFTER_NUMBER) and byte in b" \t\r" and not found:
                found = self.tokens
        return replace(self, sentence=sentence, list=found, line=line)

    def debts(self, ledger: Ledger, kinds: Sequence[int]) -> Debts:
        """What is open where the grammar's frames are of these kinds."""
        found = [(_OF_KIND.get(kind, "close_bracket"), opened) for kind, opened in zip(kinds, self.opened, strict=True)]
        found = [pair for pair in found if pair[0] in ledger.obligations]
        for name, opened in (("complete_sentence", self.sentence), ("finish_list", self.list)):
            if opened and name in ledger.obligations and len(found) < ledger.outstanding:
                found.append((name, opened))
        pressure = sum(255 + min(255, 255 * (self.tokens - opened) // DUE[name]) for name, opened in found)
        counts = {name: sum(one == name for one, _ in found) for name in ledger.obligations}
        return Debts(counts, pressure)

    def words(self) -> tuple[int, ...]:
        """As a snapshot has them."""
        opened = self.opened + (0,) * (STACK_FRAMES - len(self.opened))
        return (self.tokens, self.sentence, self.list, self.line, *opened)


def _following(line: int, byte: int) -> int:
    """How a line begins after one more byte."""
    if byte == ord("\n") or (line == _AT_START and byte in b" \t\r"):
        return _AT_START
    if line == _AT_START and byte in b"-*+":
        return _AFTER_SIGN
    if line in (_AT_START, _IN_NUMBER) and ord("0") <= byte <= ord("9"):
        return _IN_NUMBER
    return _AFTER_NUMBER if line == _IN_NUMBER and byte in b".)" else _WITHIN
