"""Sequences of tokens that come again and again in texts, with what they come after: what a bank of spans is made of.

A span is kept where it is as long as it can be: one that always goes on in the same way, or always comes after the same
token, is part of a longer one. What is longer than a span may be is cut into spans that follow one another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format.constants import MAX_SPAN_TOKENS
from chimerac.runtime.bundle_format.sfpack import Spans
from chimerac.runtime.bundle_format.span_hashes import KEY_TOKENS, Words, bits_of, token_words, words_of

Ints = NDArray[np.int64]
_OCCURRENCES: Final = 8  #: of a span that its key is of
_WORTH: Final = 0.5  #: a span less likely than that is never guessed
_CHUNK: Final = 8192  #: keys that are computed at a time


@dataclass(frozen=True)
class Text:
    """Tokens that follow one another.

    Attributes:
        tokens: int64[n].
        begin: the first of them that was generated: spans begin there at the earliest.
    """

    tokens: Ints
    begin: int = 0


@dataclass(frozen=True)
class _Stream:
    """All texts, with -1 before each."""

    tokens: Ints
    spoken: NDArray[np.bool_]  #: tokens that were generated
    inside: NDArray[np.bool_]  #: those that may be part of a span


@dataclass(frozen=True)
class _Found:
    """Spans of one length: where each begins first, how often it comes, and all places in the order of the spans."""

    first: Ints
    count: Ints
    places: Ints
    length: int


def mine(
    texts: Sequence[Text],
    allowed: NDArray[np.bool_],
    *,
    entries: int,
    least: int = 3,
    longest: int = MAX_SPAN_TOKENS,
    accept: Callable[[tuple[int, ...]], bool] = lambda tokens: True,
) -> Spans:
    """The best spans of texts: those that come often and save many passes, ``count * (tokens - 1)``.

    Args:
        allowed: bool[V]: tokens that may be part of a span.
        entries: spans at most.
        least: times that a span must come.
        longest: tokens of a span at most.
        accept: asked for each span, the best first, whether it can be one.
    """
    stream = _stream(texts, allowed)
    lengths = [_with_context(found, stream) for found in _closed(stream, least, longest)]
    whole = _joined(lengths)
    ranked = np.lexsort((np.arange(len(whole.count)), -whole.count * (_sizes(whole) - 1)))
    chosen: list[int] = []
    for i in map(int, ranked):
        if len(chosen) == entries:
            break
        if accept(whole.tokens[i]):
            chosen.append(i)
    return _chosen(whole, np.array(chosen, np.int64))


def _chosen(spans: Spans, ids: Ints) -> Spans:
    return Spans(
        [spans.tokens[i] for i in ids],
        spans.before[ids],
        spans.boundary[ids],
        spans.risk[ids],
        spans.count[ids],
        spans.keys[ids],
    )


def _sizes(spans: Spans) -> Ints:
    return np.array([len(tokens) for tokens in spans.tokens], np.int64)


def _joined(parts: Sequence[Spans]) -> Spans:
    pairs, counts, keys = np.zeros((0, 2), np.int64), np.zeros(0, np.int64), np.zeros((0, 4), np.uint64)
    numbers = np.zeros(0)
    none = Spans([], pairs, numbers, numbers, counts, keys)
    parts = [none, *parts]
    return Spans(
        [tokens for part in parts for tokens in part.tokens],
        np.concatenate([part.before for part in parts]),
        np.concatenate([part.boundary for part in parts]),
        np.concatenate([part.risk for part in parts]),
        np.concatenate([part.count for part in parts]),
        np.concatenate([part.keys for part in parts]),
    )


def _stream(texts: Sequence[Text], allowed: NDArray[np.bool_]) -> _Stream:
    gap = np.array([-1], np.int64)
    tokens = np.concatenate([part for text in texts for part in (gap, text.tokens)] + [gap])
    spoken = np.concatenate([np.arange(-1, len(text.tokens)) >= max(0, text.begin) for text in texts] + [gap > 0])
    return _Stream(tokens, spoken, spoken & (tokens >= 0) & allowed[np.maximum(tokens, 0)])


# ---- what comes again ------------------------------------------------------------------------------------------------


def _closed(stream: _Stream, least: int, longest: int) -> list[_Found]:
    """Spans that come at least so often, and oftener than any that they are part of, by length.

    A window of n tokens that comes often has two of n - 1 tokens that do: only these are looked at.
    """
    size = len(stream.tokens)
    kind = np.where(stream.inside, stream.tokens, -1)  # of the window that begins at a place; -1 for one of no interest
    found: list[_Found] = []
    last: tuple[Ints, Ints, NDArray[np.int64]] | None = None  # places, their kinds, counts of kinds
    counts = np.zeros(size + 1, np.int64)  # of the window that begins at a place
    for length in range(1, longest + 2):
        places = np.flatnonzero(kind >= 0) if length == 1 else np.flatnonzero((kind[:-1] >= 0) & (kind[1:] >= 0))
        keys = kind[places] if length == 1 else kind[places] * np.int64(size + (1 << 18)) + kind[places + 1]
        _, kinds, times = np.unique(keys, return_inverse=True, return_counts=True)
        often = times[kinds] >= least
        places, kinds = places[often], kinds[often]
        longer = np.zeros(size + 1, np.int64)
        longer[places] = times[kinds]
        if last is not None:
            found += _kept(*last, counts, longer, length - 1, cut=length - 1 == longest)
        kind = np.full(size, -1, np.int64)
        kind[places] = kinds
        counts = longer
        last = (places, kinds, times) if length > 1 else None
        if not len(places):
            break
    return found


def _kept(
    places: Ints, kinds: Ints, times: Ints, counts: Ints, longer: Ints, length: int, *, cut: bool
) -> list[_Found]:
    """The spans of a length that are part of no longer one that comes as often.

    ``cut``: there are no longer spans, and of those that are part of a longer sequence each one is kept that begins
    where the one before ends.
    """
    if not len(places):
        return []
    order = np.argsort(kinds, kind="stable")
    places, kinds = places[order], kinds[order]
    starts = np.flatnonzero(np.diff(kinds, prepend=-1))
    first = places[starts]
    before = longer[first - 1] == counts[first]
    open_ended = ~before & (longer[first] < counts[first])
    if cut:
        follows = np.r_[False, (longer[:-1] == counts[1:]) & (counts[1:] > 0)]  # a place whose window has one before it
        begins = np.maximum.accumulate(np.where(follows, 0, np.arange(len(follows))))
        open_ended = (first - begins[first]) % length == 0
    keep = np.repeat(open_ended, np.diff(starts, append=len(kinds)))
    return [_Found(first[open_ended], times[kinds[starts]][open_ended], places[keep], length)] if keep.any() else []


# ---- what it comes after ---------------------------------------------------------------------------------------------


def _with_context(found: _Found, stream: _Stream) -> Spans:
    """Spans of a length with the two tokens that they come after most often; without those that are never guessed."""
    tokens, n = stream.tokens, len(found.first)
    owner = np.repeat(np.arange(n), found.count)
    pairs, triples = _grams(stream)
    before = np.full((n, 2), -1, np.int64)
    begun, boundary, risk = np.zeros(n), np.full(n, -np.inf), np.ones(n)
    known = (found.places >= 2) & (tokens[found.places - 1] >= 0) & (tokens[found.places - 2] >= 0)
    places, whose = found.places[known], owner[known]
    if len(places):
        keys, times = np.unique(whose * np.int64(1 << 40) + pairs.kind[places], return_counts=True)
        mine = keys >> np.int64(40)
        order = np.lexsort((keys, -times, mine))
        top = order[np.unique(mine[order], return_index=True)[1]]
        spans, pair, follows = mine[top], keys[top] & np.int64((1 << 40) - 1), times[top]
        where = pairs.first[pair]
        before[spans] = np.stack([tokens[where - 2], tokens[where - 1]], axis=1)
        begun[spans] = triples.times(pair, tokens[found.first[spans]])
        boundary[spans] = np.log(begun[spans] / pairs.count[pair])
        risk[spans] = 1 - follows / begun[spans]
    likely = (np.exp(boundary) >= _WORTH) | (risk <= _WORTH)
    texts = [tuple(tokens[i : i + found.length].tolist()) for i in found.first[likely]]
    keys_of = _keys(found, stream, np.flatnonzero(likely))
    return Spans(texts, before[likely], boundary[likely], risk[likely], found.count[likely], keys_of)


@dataclass(frozen=True)
class _Pairs:
    """The two tokens before each place where something was generated."""

    kind: Ints  #: of each place
    first: Ints  #: a place of each kind
    count: Ints


@dataclass(frozen=True)
class _Triples:
    """The same with what was generated there."""

    keys: Ints
    count: Ints

    def times(self, pair: Ints, token: Ints) -> Ints:
        return self.count[np.searchsorted(self.keys, pair * np.int64(1 << 18) + token)]


def _grams(stream: _Stream) -> tuple[_Pairs, _Triples]:
    tokens = stream.tokens
    ahead = np.r_[-1, -1, tokens[:-2]], np.r_[-1, tokens[:-1]]
    places = np.flatnonzero(stream.spoken & (tokens >= 0) & (ahead[0] >= 0) & (ahead[1] >= 0))
    wide = ahead[0][places] * np.int64(1 << 18) + ahead[1][places]
    _, first, kinds, count = np.unique(wide, return_index=True, return_inverse=True, return_counts=True)
    kind = np.zeros(len(tokens), np.int64)
    kind[places] = kinds
    keys, times = np.unique(kinds * np.int64(1 << 18) + tokens[places], return_counts=True)
    return _Pairs(kind, places[first], count), _Triples(keys, times)


def _keys(found: _Found, stream: _Stream, wanted: Ints) -> Words:
    """uint64[n, 4]: for each span the majority of the tokens before its first places."""
    starts = np.cumsum(found.count) - found.count
    votes = np.zeros((len(wanted), 256), np.int32)
    ties = np.zeros((len(wanted), 4), np.uint64)
    for begin in range(0, len(wanted), _CHUNK):
        part = wanted[begin : begin + _CHUNK]
        open_texts = np.ones((len(part), _OCCURRENCES), bool)
        for back in range(1, KEY_TOKENS + 1):
            for i in range(_OCCURRENCES):
                there = open_texts[:, i] & (found.count[part] > i)
                places = found.places[starts[part] + np.minimum(i, found.count[part] - 1)] - back
                tokens = stream.tokens[np.maximum(places, 0)]
                there &= (places >= 0) & (tokens >= 0)
                open_texts[:, i] = there
                words = token_words(np.maximum(tokens, 0))
                votes[begin : begin + len(part)] += np.where(there[:, None], bits_of(words), 0)
                if back == 1 and i == 0:
                    ties[begin : begin + len(part)] = np.where(there[:, None], words, 0)
    return words_of(votes, ties)
