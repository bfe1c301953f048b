"""The memory of span knots in numpy: the sketch of a text, what is read of a memory, and the relaxation.

What ``runtime/native/chm_knot.c`` computes; docs/spans.md has the definition. A vector is an array of truth values [n].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format.span_hashes import token_words

NEAREST = 4  #: vectors that are read together
Bits = NDArray[np.bool_]
Counters = NDArray[np.int8]


@dataclass(frozen=True)
class Relaxing:
    """The numbers of the relaxation: bits that a round turns at most, rounds, the weight of the memory in the energy,
    and by how much a round must lower it for another one."""

    flips: int
    rounds: int
    weight: float
    early_exit: float


@dataclass(frozen=True)
class Reading:
    """What was read where a block begins; ``hit`` is 0, and the memory all zeros, where nothing is near enough."""

    memory: Bits
    hit: float
    counters: Counters


def token_bits(token: int, bits: int) -> Bits:
    """What a token stands for."""
    words = token_words(np.array([token]), bits // 64).reshape(-1)
    return np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little").astype(bool)


def taken(counters: Counters, bits: Bits) -> Counters:
    """The sketch after a token, or after a span of this meaning: c - (c >> 4) + 8 where the bit is set, else - 8."""
    wide = counters.astype(np.int32)
    counted: Counters = np.clip(wide - (wide >> 4) + np.where(bits, 8, -8), -128, 127).astype(np.int8)
    return counted


def sketch_of(counters: Counters) -> Bits:
    """Its bits."""
    sketch: Bits = counters >= 0
    return sketch


def energy(sketch: Bits, vector: Bits, weight: float) -> float:
    """What of the energy depends on the sketch: the weight times the share of bits that differ."""
    return weight * float(np.mean(sketch != vector))


def span_energy(counters: Counters, meaning: Bits, memory: Bits) -> int:
    """What of the energy depends on a span: bits of the sketch that differ from what was read, if it followed."""
    return int(np.count_nonzero(sketch_of(taken(counters, meaning)) != memory))


def relaxed(counters: Counters, vector: Bits, rule: Relaxing) -> Counters:
    """The counters after the relaxation towards a vector: each round turns the first bits that differ."""
    counters, each = counters.copy(), np.float32(rule.weight) * np.float32(1 / len(vector))
    for _ in range(rule.rounds):
        places = np.flatnonzero(sketch_of(counters) != vector)[: rule.flips]
        counters[places] = np.where(counters[places] >= 0, -1, 0)
        if not len(places) or np.float32(len(places)) * each < np.float32(rule.early_exit):
            break
    return counters


def read(counters: Counters, memory: Bits, rule: Relaxing) -> Reading:
    """What layers read of the vectors [count, n], and the sketch after it."""
    bits, sketch = len(counters), sketch_of(counters)
    distances = np.count_nonzero(memory != sketch, axis=1)
    order = np.argsort(distances, kind="stable")[:NEAREST]
    if not len(order) or 20 * distances[order[0]] >= 9 * bits:
        return Reading(np.zeros(bits, bool), 0.0, counters)
    near = memory[order]
    ones = 2 * near.sum(axis=0)
    most = np.where(ones == len(near), near[0], ones > len(near))
    hit = float(bits - 2 * int(distances[order[0]])) / bits
    return Reading(most, hit, relaxed(counters, near[0], rule))
