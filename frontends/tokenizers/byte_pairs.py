"""Byte pair encoding, learnt: which byte strings become tokens, in the order in which they merge."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

#: Pieces that no merge crosses: letters, one digit, one white space, signs (anything else).
_PIECE: Final = re.compile(r"[^\W\d_]+|\d|\s|(?:[^\w\s]|_)+")


def count_pieces(texts: Iterable[str]) -> Counter[bytes]:
    """How often each piece is there."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_PIECE.findall(text))
    return Counter({piece.encode(): count for piece, count in counts.items()})


def learn(pieces: Mapping[bytes, int], count: int, *, fewest: int = 1, most_pieces: int = 60000) -> list[bytes]:
    """Up to ``count`` tokens of two bytes or more; each merge makes the most frequent pair a token, ties by bytes.

    It stops where the best pair is there less than ``fewest`` times. As in the runtime's encoder, all pairs that
    together have the same bytes merge at once. Only the ``most_pieces`` most frequent pieces are looked at.
    """
    kept = sorted(pieces.items(), key=lambda item: (-item[1], item[0]))[:most_pieces]
    kept = [(piece, times) for piece, times in kept if len(piece) > 1]
    words = [[piece[k : k + 1] for k in range(len(piece))] for piece, _ in kept]
    counts: Counter[bytes] = Counter()
    places: dict[bytes, set[int]] = {}
    for index, word in enumerate(words):
        for token in _pairs(word):
            counts[token] += kept[index][1]
            places.setdefault(token, set()).add(index)
    heap = [(-times, token) for token, times in counts.items()]
    heapq.heapify(heap)
    tokens: list[bytes] = []
    made: set[bytes] = set()
    while heap and len(tokens) < count:
        times, token = heapq.heappop(heap)
        if token in made or counts[token] != -times or times == 0:
            continue  # out of date
        if times > -fewest:
            break
        tokens.append(token)
        made.add(token)
        changed: set[bytes] = set()
        for index in places.pop(token):
            word = words[index]
            merged = _merge(word, token)
            if len(merged) == len(word):
                continue
            for old in _pairs(word):
                counts[old] -= kept[index][1]
                changed.add(old)
            for new in _pairs(merged):
                counts[new] += kept[index][1]
                changed.add(new)
                places.setdefault(new, set()).add(index)
            words[index] = merged
        for pair in changed - made:
            if counts[pair] > 0:
                heapq.heappush(heap, (-counts[pair], pair))
    return tokens


def _pairs(word: Sequence[bytes]) -> list[bytes]:
    return [a + b for a, b in pairwise(word)]


def _merge(word: Sequence[bytes], token: bytes) -> list[bytes]:
    """Join the neighbours that together are ``token``, from the left."""
    result: list[bytes] = []
    position = 0
    while position < len(word):
        if position + 1 < len(word) and word[position] + word[position + 1] == token:
            result.append(token)
            position += 2
        else:
            result.append(word[position])
            position += 1
    return result
