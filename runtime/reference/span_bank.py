"""Which spans of a bank may follow a text, with their scores: the same as ``native/chm_bank_find.c``, with numpy."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format import constants as c
from chimerac.runtime.bundle_format.generation import Shares
from chimerac.runtime.bundle_format.sfpack import TABLES, Bank
from chimerac.runtime.bundle_format.span_hashes import KEY_TOKENS, context_hash, context_key

_MOST_LOOKED_AT: Final = 256
_MOST_COMPARED: Final = 4096
_BUCKET: Final = 24
_MOST_DISTANCE: Final = 64
_EVEN_CHANCE: Final = -177
_EVEN_RISK: Final = 128
_POWERS: Final = (
    4278222805, 4261543595, 4228380000, 4162825044, 4034748382, 3790295335, 3344923893, 2605029347,
)  # fmt: skip


class Candidate(NamedTuple):
    """A span whose first ``known`` tokens are the text's last ones; ``score`` is 65536 times that of docs/sfpack.md."""

    span: int
    known: int
    score: int


def exponential(x: int) -> int:
    """exp(x / 256) times 65536, for x from -255 to 0."""
    product = 1 << 32
    for i, power in enumerate(_POWERS):
        if -x >> i & 1:
            product = product * power >> 32
    return product >> 16


class BankFinder:
    """A bank, with what is looked up in it; ``grammar``: whether the text follows one."""

    def __init__(self, bank: Bank, shares: Shares | None = None, *, grammar: bool = False) -> None:
        self._bank, self._shares = bank, shares or Shares()
        self._most_following = self._shares.text + self._shares.head + (0 if grammar else self._shares.grammar)
        self._tokens = [bank.tokens(span) for span in range(len(bank.records))]
        self._hashes = bank.following[:, 0]
        pieces = np.ascontiguousarray(bank.keys, "<u8").view("<u2")
        self._ids = np.argsort(pieces, axis=0, kind="stable")
        self._pieces = np.take_along_axis(pieces, self._ids, axis=0)

    def find(self, text: Sequence[int]) -> list[Candidate]:
        """Candidates after a text, the best first."""
        last = list(text[-KEY_TOKENS:])
        if not last:
            return []
        wanted = int(context_hash(np.array(last[-2:-1]), np.array(last[-1:]))[0]) if len(last) > 1 else 0
        distances = np.bitwise_count(self._bank.keys ^ context_key(last)[None, :]).sum(axis=1).astype(np.int64)
        found = self._begun(last)
        if wanted:
            found += self._following(wanted, distances)
        found += self._near(wanted, last, distances)
        return sorted(found, key=lambda one: (-one.score, one.span, -one.known))

    def _begun(self, last: list[int]) -> list[Candidate]:
        for known in range(len(last), 1, -1) if self._shares.text else ():
            start = tuple(last[-known:])
            first = bisect.bisect_left(self._tokens, start)
            found: list[Candidate] = []
            for span in range(first, min(first + _MOST_LOOKED_AT, len(self._tokens))):
                if self._tokens[span][:known] != start or len(found) == self._shares.text:
                    break
                risk = int(self._bank.records["interior_risk"][span])
                if len(self._tokens[span]) > known and risk <= _EVEN_RISK:
                    found.append(Candidate(span, known, self._score(65536, (255 - risk) * 257)))
            if found:
                return found
        return []

    def _boundary(self, span: int) -> int | None:
        value = int(self._bank.records["boundary_logprob"][span])
        return exponential(value) if _EVEN_CHANCE <= value <= 0 else None

    def _following(self, wanted: int, distances: NDArray[np.int64]) -> list[Candidate]:
        begin, end = np.searchsorted(self._hashes, [wanted, wanted + 1])
        found: list[Candidate] = []
        for span in map(int, self._bank.following[begin:end, 1]):
            boundary = self._boundary(span)
            if boundary is not None and len(found) < self._most_following:
                found.append(Candidate(span, 0, self._score(_nearness(int(distances[span])), boundary)))
        return found

    def _near(self, wanted: int, last: list[int], distances: NDArray[np.int64]) -> list[Candidate]:
        compared = range(len(self._tokens)) if len(self._tokens) <= c.SPAN_SCAN else self._compared(last)
        ranked = sorted({(int(distances[span]), span) for span in compared if distances[span] <= _MOST_DISTANCE})
        found: list[Candidate] = []
        for distance, span in ranked[: self._shares.near]:
            boundary = self._boundary(span)
            before = int(self._bank.records["ctx2"][span])
            if boundary is not None and (not before or before != wanted):
                found.append(Candidate(span, 0, self._score(_nearness(distance), boundary)))
        return found

    def _score(self, nearness: int, boundary: int) -> int:
        return (nearness * self._shares.nearness >> 16) + (boundary * self._shares.boundary >> 16)

    def _compared(self, last: list[int]) -> list[int]:
        """Spans whose keys the index leads to."""
        key = np.ascontiguousarray(context_key(last), "<u8").view("<u2")
        found: list[int] = []
        for flip in (0, *(1 << bit for bit in range(16))):
            for table in range(TABLES):
                value = int(key[table]) ^ flip
                begin, end = np.searchsorted(self._pieces[:, table], [value, value + 1])
                found += self._ids[begin : min(int(end), int(begin) + _BUCKET), table].tolist()
        return found[:_MOST_COMPARED]


def _nearness(distance: int) -> int:
    return max(0, 65536 - 512 * distance)
