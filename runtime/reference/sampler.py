"""Choosing the next token in Python: the same choice as ``native/chm_sampler.c`` for the same logits, bit for bit.

Order: excluded ids → repetition penalty → temperature → top-k → top-p → Gumbel argmax. The noise of a token depends on
(seed, stream, position, token) only, so the choice is a pure function of the logits and the position.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.options import GenerateOptions
from chimerac.runtime.reference import exact_math
from chimerac.runtime.reference.exact_math import F, Floats

_LARGEST = F(3.4028235e38)
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def philox(counters: NDArray[np.uint32], key: tuple[int, int]) -> NDArray[np.uint32]:
    """Philox4x32-10 of counters u32[n, 4] (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011)."""
    c = counters.astype(np.uint64)
    key0, key1 = key
    for _ in range(10):
        product0, product1 = np.uint64(0xD2511F53) * c[:, 0], np.uint64(0xCD9E8D57) * c[:, 2]
        words = (
            product1 >> _SHIFT ^ c[:, 1] ^ np.uint64(key0),
            product1 & _LOW,
            product0 >> _SHIFT ^ c[:, 3] ^ np.uint64(key1),
            product0 & _LOW,
        )
        c = np.stack(words, axis=1)
        key0, key1 = key0 + 0x9E3779B9 & 0xFFFFFFFF, key1 + 0xBB67AE85 & 0xFFFFFFFF
    return c.astype(np.uint32)


def gumbel(tokens: NDArray[np.int64], position: int, seed: int, stream: int) -> Floats:
    """Gumbel noise of tokens at a position: -log(-log(u)) of a uniform u that keeps its precision near 0."""
    counters = np.zeros((tokens.size, 4), np.uint32)
    counters[:, 0], counters[:, 1], counters[:, 3] = tokens >> 2, position, seed >> 32
    words = philox(counters, (seed & 0xFFFFFFFF, stream))[np.arange(tokens.size), tokens & 3]
    uniform = np.minimum(words.astype(np.float32) * F(2**-32) + F(2**-33), F(1 - 2**-24))
    return -exact_math.log(-exact_math.log1p(-uniform))


def sample(
    logits: Floats, excluded: NDArray[np.bool_], history: Sequence[int], position: int, options: GenerateOptions
) -> int:
    """The chosen token, or -1 if every logit is excluded or not a number.

    Args:
        logits: f32[vocabulary].
        excluded: tokens that may not be chosen.
        history: tokens that the repetition penalty counts.
        position: number of tokens that were run.
    """
    with np.errstate(all="ignore"):
        scores = _scores(logits, history, options)
        candidates = np.flatnonzero(~(np.isnan(logits) | excluded))
        if not candidates.size:
            return -1
        if options.temperature == 0:
            return int(candidates[np.argmax(scores[candidates])])
        candidates = _survivors(scores, candidates, options)
        noisy = scores[candidates] + gumbel(candidates, position, options.seed, options.stream)
        return int(candidates[np.argmax(noisy)])


def log_probability(logits: Floats, excluded: NDArray[np.bool_], token: int) -> np.float32:
    """The natural logarithm of a token's probability among those that are not excluded.

    Args:
        logits: f32[vocabulary], as the model gives them.
        excluded: tokens that may not be chosen; those whose logits are not numbers may not be either.
        token: one that may.
    """
    with np.errstate(all="ignore"):
        allowed = ~(np.isnan(logits) | excluded)
        clamped = _clamp(logits)
        largest = clamped[allowed].max()
        mass = np.where(allowed, exact_math.exp(np.where(allowed, clamped - largest, F(0))), F(0))
        return min(F(0), F(logits[token] - F(largest + exact_math.log(np.full(1, exact_math.lanes8_sum(mass)))[0])))


def _scores(logits: Floats, history: Sequence[int], options: GenerateOptions) -> Floats:
    base = _clamp(logits)
    scores = base.copy()
    if options.repetition_penalty != 1:
        penalty = F(options.repetition_penalty)
        seen = np.unique(np.asarray(history, np.int64))
        values = base[seen]
        scores[seen] = _clamp(np.where(values > 0, values / penalty, values * penalty))
    return scores if options.temperature == 0 else _clamp(scores / F(options.temperature))


def _clamp(x: Floats) -> Floats:
    return np.minimum(np.maximum(x, -_LARGEST), _LARGEST)


def _survivors(scores: Floats, candidates: NDArray[np.int64], options: GenerateOptions) -> NDArray[np.int64]:
    """Candidates that top-k and top-p keep, in ascending order."""
    limited = 0 < options.top_k < candidates.size
    if not limited and not options.top_p < 1:
        return candidates
    ranked = candidates[np.lexsort((candidates, -scores[candidates].astype(np.float64)))]  # likeliest, lowest id first
    if limited:
        ranked = ranked[: options.top_k]
    if options.top_p < 1:
        mass = np.zeros_like(scores)
        mass[ranked] = exact_math.exp(scores[ranked] - scores[ranked[0]])
        threshold = F(options.top_p) * exact_math.lanes8_sum(mass)
        reached = np.cumsum(mass[ranked], dtype=np.float32) >= threshold  # one float32 addition after the other
        if reached.any():
            ranked = ranked[: int(np.argmax(reached)) + 1]
    return np.sort(ranked)
