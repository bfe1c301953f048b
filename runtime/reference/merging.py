"""Byte pair merging: which parts merge, and what is left when none does. Or the longest token at each place."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Merges:
    """Merges by rank: the token that each makes, and the bytes of its left part; without ``splits`` any two parts."""

    tokens: tuple[int, ...] = field(repr=False)
    splits: tuple[int, ...] | None = field(default=None, repr=False)

    def problems(self, tokens: Sequence[bytes]) -> dict[str, bool]:
        """What is wrong with them, for a vocabulary: sentence → whether it is so."""
        if self.splits is not None and len(self.splits) != len(self.tokens):
            return {"there are not as many splits as merges": True}
        count = len(tokens)
        splits = self.splits or (0,) * len(self.tokens)
        known = all(0 <= id < count and len(tokens[id]) > 1 for id in self.tokens)
        pairs = list(zip(self.tokens, splits, strict=True))
        return {
            "a merge makes no token of two bytes or more": not known,
            "a merge has an empty part": known
            and self.splits is not None
            and any(not 0 < split < len(tokens[id]) for id, split in pairs),
            "a merge is there twice": len(set(pairs)) != len(pairs),
        }

    def ranks(self) -> dict[int, int]:
        """token << 8 | bytes of the left part, 0 for any → rank."""
        splits = self.splits or (0,) * len(self.tokens)
        return {id << 8 | split: rank for rank, (id, split) in enumerate(zip(self.tokens, splits, strict=True))}


def merged(data: bytes, sizes: Sequence[int], rank: Callable[[bytes, int], int | None]) -> list[bytes]:
    """Parts of a piece after all merges.

    Args:
        data: the piece.
        sizes: bytes of its parts to begin with, in order.
        rank: of the merge of two parts, from their bytes together and the size of the left one; None if there is none.
    """
    length, before = [0] * len(data), [-1] * len(data)
    start, last = 0, -1
    for size in sizes:
        length[start], before[start] = size, last
        last, start = start, start + size
    queue: list[tuple[int, int, int]] = []

    def offer(left: int) -> None:
        right = left + length[left]
        if right < len(data):
            span = length[left] + length[right]
            found = rank(data[left : left + span], length[left])
            if found is not None:
                heapq.heappush(queue, (found, left, span))

    start = 0
    for size in sizes:
        offer(start)
        start += size
    while queue:
        _, left, span = heapq.heappop(queue)
        right = left + length[left]
        if not length[left] or right >= len(data) or length[left] + length[right] != span:
            continue  # one of the two parts has merged with another since
        length[left], length[right] = span, 0
        if left + span < len(data):
            before[left + span] = left
        if before[left] >= 0:
            offer(before[left])
        offer(left)
    parts, at = [], 0
    while at < len(data):
        parts.append(data[at : at + length[at]])
        at += length[at]
    return parts


def longest_first(data: bytes, ids: Mapping[bytes, int], longest: int) -> Iterator[int]:
    """Tokens of a piece from the left, each the longest that begins there; every byte must be one.

    Args:
        longest: bytes of the longest token.
    """
    at = 0
    while at < len(data):
        sizes = range(min(longest, len(data) - at), 0, -1)
        size = next(size for size in sizes if data[at : at + size] in ids)
        yield ids[data[at : at + size]]
        at += size
