"""Spans of texts against a search that counts every window of every text."""

from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest

from chimerac.frontends.spans.mining import Text, mine
from chimerac.runtime.bundle_format.span_hashes import bits_of, token_words

Window = tuple[int, ...]


def drawn(seed: int) -> list[Text]:
    """Texts of phrases, some of them answers to what is before; token 0 is no text."""
    rng = random.Random(seed)
    phrases = [[rng.randint(0, 9) for _ in range(rng.randint(1, 6))] for _ in range(5)]
    texts = []
    for _ in range(rng.randint(1, 8)):
        tokens = [t for _ in range(rng.randint(0, 9)) for t in (*rng.choice(phrases), *rng.choice(([], [], [3])))]
        texts.append(Text(np.array(tokens, np.int64), rng.choice((0, 0, len(tokens) // 3))))
    return texts


def is_left_out(window: Window, place: tuple[Window, int], longest: int, count: dict[Window, int], most: int) -> bool:
    """Whether a window is part of a longer one that comes as often, ``most``; of the longest, whether it begins within
    another one of the sequence that both are part of.
    """
    if len(window) < longest:
        return most == count[window]
    tokens, at = place
    begin = at
    while begin and count.get(tokens[begin - 1 : begin + longest]) == count[tokens[begin : begin + longest]]:
        begin -= 1
    return (at - begin) % longest > 0


def spans_of(texts: list[Text], least: int, longest: int) -> dict[Window, tuple[int, Window | None, float, float]]:
    """Span → times, the two tokens before, its chance to begin after them, and not to go on."""
    places: dict[Window, list[tuple[Window, int]]] = {}
    pairs, triples = Counter[Window](), Counter[Window]()
    for text in texts:
        tokens = tuple(text.tokens.tolist())
        for at in range(max(2, text.begin), len(tokens)):
            pairs[tokens[at - 2 : at]] += 1
            triples[tokens[at - 2 : at + 1]] += 1
        for at in range(text.begin, len(tokens)):
            for end in range(at + 2, min(at + longest + 1, len(tokens)) + 1):
                if 0 not in tokens[at:end]:
                    places.setdefault(tokens[at:end], []).append((tokens, at))
    count = {window: len(found) for window, found in places.items()}
    part_of = dict.fromkeys(places, 0)
    for window in places:
        for part in (window[1:], window[:-1]):
            if part in part_of:
                part_of[part] = max(part_of[part], count[window])
    result: dict[Window, tuple[int, Window | None, float, float]] = {}
    for window, found in places.items():
        few = len(window) > longest or count[window] < least
        if few or is_left_out(window, found[0], longest, count, part_of[window]):
            continue
        before = Counter(tokens[at - 2 : at] for tokens, at in found if at >= 2)
        if not before:
            result[window] = (count[window], None, -math.inf, 1.0)
            continue
        times = max(before.values())
        pair = min(pair for pair, n in before.items() if n == times)
        begun = triples[(*pair, window[0])]
        result[window] = (count[window], pair, math.log(begun / pairs[pair]), 1 - times / begun)
    return {w: row for w, row in result.items() if math.exp(row[2]) >= 0.5 or row[3] <= 0.5}


@pytest.mark.parametrize("seed", range(60))
def test_spans_are_those_that_counting_finds(seed: int) -> None:
    texts, least, longest = drawn(seed), 2 + seed % 3, (64, 4, 3)[seed % 3]
    allowed = np.arange(10) > 0
    found = mine(texts, allowed, entries=1 << 19, least=least, longest=longest)
    wanted = spans_of(texts, least, longest)
    assert sorted(found.tokens) == sorted(wanted)
    for i, span in enumerate(found.tokens):
        count, pair, boundary, risk = wanted[span]
        assert found.count[i] == count
        assert tuple(found.before[i]) == (pair or (-1, -1))
        assert (found.boundary[i], found.risk[i]) == pytest.approx((boundary, risk))
    worth = [wanted[span][0] * (len(span) - 1) for span in found.tokens]
    assert worth == sorted(worth, reverse=True)


def test_the_best_that_are_accepted_are_taken() -> None:
    texts, allowed = drawn(7), np.ones(10, bool)
    whole = mine(texts, allowed, entries=1000, least=2)
    some = mine(texts, allowed, entries=3, least=2, accept=lambda tokens: len(tokens) != 3)
    assert some.tokens == [span for span in whole.tokens if len(span) != 3][:3]
    assert len(some.keys) == len(some.count) == 3


def test_keys_are_of_what_comes_before() -> None:
    tokens = np.array([9, 8, 7, 6, 5, 1, 2, 3] * 3)
    found = mine([Text(tokens)], np.isin(np.arange(10), (1, 2, 3)), entries=9)
    assert found.tokens == [(1, 2, 3)]
    votes = bits_of(token_words(tokens[:13])).astype(int)
    # before the first span come five tokens, before the others eight
    total = votes[:5].sum(axis=0) + 2 * votes[5:13].sum(axis=0)
    last = votes[4]
    wanted = np.where(total == 0, last, total) > 0
    assert (np.packbits(wanted, bitorder="little").view("<u8") == found.keys[0]).all()


def test_texts_without_spans() -> None:
    for texts in ([], [Text(np.array([], np.int64))], [Text(np.arange(9))]):
        assert mine(texts, np.ones(10, bool), entries=9).tokens == []
