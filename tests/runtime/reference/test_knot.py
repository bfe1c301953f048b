"""The memory of span knots in numpy: a relaxation that never raises the energy, against every choice of bits."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimerac.runtime.reference.knot import Relaxing, energy, read, relaxed, sketch_of, taken, token_bits


def drawn(seed: int, bits: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.integers(-128, 128, bits).astype(np.int8), random.random(bits) < 0.5


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(0, 4), st.sampled_from([0.0, 1e-4, 0.1]))
def test_the_energy_never_rises(seed: int, flips: int, rounds: int, early_exit: float) -> None:
    """Each round turns as many bits as it may, and what it says of the energy is exact."""
    counters, vector = drawn(seed, 128)
    before, weight = energy(sketch_of(counters), vector, 0.3), 0.3
    for done in range(1, rounds + 1):
        after = energy(sketch_of(relaxed(counters, vector, Relaxing(flips, done, weight, early_exit))), vector, weight)
        assert after <= before
        lowered = round((before - after) * 128 / weight)
        assert 0 <= lowered <= flips
        assert before - after == pytest.approx(lowered * weight / 128)
        before = after
    if rounds * flips >= 128 and early_exit == 0.0:
        assert before == 0


def test_no_other_bits_lower_it_more() -> None:
    for seed in range(3):
        counters, vector = drawn(seed, 32)
        found = sketch_of(relaxed(counters, vector, Relaxing(3, 1, 0.3, 0.0)))
        others = (sketch_of(counters) ^ np.isin(np.arange(32), one) for one in combinations(range(32), 3))
        assert energy(found, vector, 0.3) <= min(energy(one, vector, 0.3) for one in others)
        differ = np.flatnonzero(sketch_of(counters) != vector)
        assert np.flatnonzero(found != sketch_of(counters)).tolist() == differ[:3].tolist()


def test_a_turned_bit_may_be_turned_back_by_the_next_token() -> None:
    counters, vector = drawn(3, 256)
    found = relaxed(counters, vector, Relaxing(256, 1, 0.3, 0.0))
    assert np.array_equal(sketch_of(found), vector)
    turned = sketch_of(counters) != vector
    assert np.array_equal(sketch_of(taken(found, ~vector))[turned], sketch_of(counters)[turned])


def test_what_is_read() -> None:
    """The sketch of some tokens is near what it was a little before, and no random vector; an empty memory is none."""
    counters, bits = np.zeros(8192, np.int8), 8192
    for token in range(20):
        counters = taken(counters, token_bits(token, bits))
    rule, random = Relaxing(163, 3, 0.3, 1e-4), np.random.default_rng(4)
    noise = random.random((30, bits)) < 0.5
    for memory in (np.zeros((0, bits), bool), noise):
        nothing = read(counters, memory, rule)
        assert nothing.hit == 0
        assert not nothing.memory.any()
        assert np.array_equal(nothing.counters, counters)
    old = sketch_of(counters) ^ (random.random(bits) < 0.2)
    one = read(counters, np.concatenate([noise, old[None]]), rule)
    assert one.hit == pytest.approx(1 - 2 * np.mean(old != sketch_of(counters)))
    assert np.mean(one.memory != old) < 0.35  # with three that say nothing
    assert np.array_equal(read(counters, old[None], rule).memory, old)
    assert np.count_nonzero(sketch_of(one.counters) != sketch_of(counters)) == 3 * 163
    assert energy(sketch_of(one.counters), old, 0.3) < energy(sketch_of(counters), old, 0.3)
