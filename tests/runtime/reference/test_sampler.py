"""The samplers: C = Python = a numpy transcription bit for bit, the right distribution, the right survivors."""

from __future__ import annotations

import ctypes as ct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from chimerac.compiler.ir import numerics, numpy_math
from chimerac.runtime.options import GenerateOptions
from chimerac.runtime.reference import exact_math
from chimerac.runtime.reference import sampler as python_sampler

Floats = NDArray[np.float32]
LARGEST = np.float32(3.4028235e38)


def drawing(**given: Any) -> GenerateOptions:
    """Options that draw at a temperature of 1 unless they say otherwise."""
    return GenerateOptions(**{"temperature": 1.0, **given})


def philox(counter: NDArray[np.uint32], key: tuple[int, int]) -> NDArray[np.uint32]:
    """Philox4x32-10 of counters u32[n, 4]."""
    c = counter.astype(np.uint64)
    key0, key1 = key
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        product0, product1 = np.uint64(0xD2511F53) * c[:, 0], np.uint64(0xCD9E8D57) * c[:, 2]
        c = np.stack(
            [
                product1 >> np.uint64(32) ^ c[:, 1] ^ np.uint64(key0),
                product1 & low,
                product0 >> np.uint64(32) ^ c[:, 3] ^ np.uint64(key1),
                product0 & low,
            ],
            axis=1,
        )
        key0, key1 = (key0 + 0x9E3779B9) & 0xFFFFFFFF, (key1 + 0xBB67AE85) & 0xFFFFFFFF
    return c.astype(np.uint32)


def gumbel(ids: NDArray[np.int64], position: int, settings: GenerateOptions) -> Floats:
    counter = np.zeros((ids.size, 4), np.uint32)
    counter[:, 0], counter[:, 1], counter[:, 3] = ids >> 2, position, settings.seed >> 32
    words = philox(counter, (settings.seed & 0xFFFFFFFF, settings.stream))[np.arange(ids.size), ids & 3]
    uniform = words.astype(np.float32) * np.float32(2**-32) + np.float32(2**-33)
    uniform = numpy_math.minimum_f32(uniform, np.float32(1 - 2**-24))
    return -numpy_math.log_f32(-numpy_math.log1p_f32(-uniform))


def clamp(x: Floats) -> Floats:
    return numpy_math.minimum_f32(numpy_math.maximum_f32(x, -LARGEST), LARGEST)


def survivors(
    logits: Floats, excluded: NDArray[np.bool_], history: list[int], settings: GenerateOptions
) -> tuple[Floats, NDArray[np.int64]]:
    """(scores of all ids, ids that may be chosen, likeliest first)"""
    out = np.isnan(logits) | excluded
    base = clamp(logits)
    scores = base.copy()
    with np.errstate(all="ignore"):
        if settings.repetition_penalty != 1:
            penalty = np.float32(settings.repetition_penalty)
            for id in history:
                scores[id] = clamp(base[id] / penalty if base[id] > 0 else base[id] * penalty)
        if settings.temperature != 0:
            scores = clamp(scores / np.float32(settings.temperature))
    ids = np.flatnonzero(~out)
    ids = ids[np.lexsort((ids, -scores[ids].astype(np.float64)))]
    if ids.size and 0 < settings.top_k < ids.size:
        ids = ids[: settings.top_k]
    if ids.size and settings.top_p < 1:
        mass = np.zeros_like(scores)
        with np.errstate(all="ignore"):
            mass[ids] = numpy_math.exp_f32(scores[ids] - scores[ids[0]])
        threshold = np.float32(settings.top_p) * numpy_math.lanes8_sum(mass)
        cumulative, kept = np.float32(0), 0
        for candidate in ids:
            cumulative = np.float32(cumulative + mass[candidate])
            kept += 1
            if cumulative >= threshold:
                break
        ids = ids[:kept]
    return scores, ids


def sample(
    logits: Floats, excluded: NDArray[np.bool_], history: list[int], position: int, settings: GenerateOptions
) -> int:
    scores, ids = survivors(logits, excluded, history, settings)
    if not ids.size:
        return -1
    if settings.temperature == 0:
        return int(ids[0])
    ids = np.sort(ids)
    noisy = scores[ids] + gumbel(ids, position, settings)
    return int(ids[np.argmax(noisy)])


def sample_c(
    internals: ct.CDLL,
    logits: Floats,
    excluded: NDArray[np.bool_],
    history: list[int],
    position: int,
    settings: GenerateOptions,
) -> int:
    bits = np.packbits(excluded, bitorder="little")
    scratch = np.full(3 * logits.size, np.nan, np.float32)
    key = np.array([settings.seed & 0xFFFFFFFF, settings.seed >> 32, settings.stream], np.uint32)
    past = np.array([*history, 0], np.int32)
    pointer = ct.c_void_p
    return int(
        internals.test_sample(
            ct.c_float(settings.temperature),
            ct.c_float(settings.top_p),
            ct.c_int32(settings.top_k),
            ct.c_float(settings.repetition_penalty),
            key.ctypes.data_as(pointer),
            logits.ctypes.data_as(pointer),
            ct.c_int32(logits.size),
            bits.ctypes.data_as(pointer),
            past.ctypes.data_as(pointer),
            ct.c_uint32(len(history)),
            ct.c_int32(position),
            scratch.ctypes.data_as(pointer),
        )
    )


#: Known answers of the Random123 distribution: counter, key, words.
KNOWN_ANSWERS = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_philox_gives_the_published_words(
    counter: list[int], key: list[int], words: list[int], internals: ct.CDLL
) -> None:
    given, got = np.array(counter, np.uint32), np.zeros(4, np.uint32)
    internals.test_philox(
        given.ctypes.data_as(ct.c_void_p), ct.c_uint32(key[0]), ct.c_uint32(key[1]), got.ctypes.data_as(ct.c_void_p)
    )
    assert got.tolist() == words
    assert philox(given[None], (key[0], key[1]))[0].tolist() == words
    assert python_sampler.philox(given[None], (key[0], key[1]))[0].tolist() == words


def random_settings(random: np.random.Generator) -> GenerateOptions:
    return drawing(
        temperature=float(random.choice([0.0, 0.01, 0.3, 1.0, 2.5, 100.0])),
        top_p=float(random.choice([0.0, 0.1, 0.5, 0.92, 1.0])),
        top_k=int(random.choice([0, 0, 1, 3, 40, 10_000])),
        repetition_penalty=float(random.choice([1.0, 1.08, 1.5, 0.5])),
        seed=int(random.integers(0, 2**63)),
        stream=int(random.integers(0, 2**32)),
    )


def test_c_and_python_choose_as_numpy(internals: ct.CDLL) -> None:
    random = np.random.default_rng(1)
    for round in range(1500):
        vocab = int(random.choice([1, 2, 7, 8, 9, 64, 257]))
        logits = (random.standard_normal(vocab) * random.choice([0.1, 1, 10, 1000])).astype(np.float32)
        if round % 5 == 0:
            logits = np.round(logits)  # many equal values
        if round % 7 == 0:
            logits[random.integers(vocab)] = random.choice([np.nan, np.inf, -np.inf, 3e38, -3e38])
        excluded = random.random(vocab) < random.choice([0.0, 0.3, 1.0], p=[0.5, 0.48, 0.02])
        history = random.integers(0, vocab, int(random.integers(0, 20))).tolist()
        settings = random_settings(random)
        arguments = (logits, excluded, history, int(random.integers(0, 2**31)), settings)
        assert sample_c(internals, *arguments) == sample(*arguments), (round, settings)
        assert python_sampler.sample(*arguments[:-1], settings) == sample(*arguments), (round, settings)


def test_draws_among_many_without_computing_all_noise(internals: ct.CDLL) -> None:
    random = np.random.default_rng(3)
    for round in range(60):
        logits = (
            random.standard_normal(4001) * random.choice([0.0, 0.1, 1, 5]) + random.choice([0, -900, 3000])
        ).astype(np.float32)
        settings = drawing(temperature=float(random.choice([0.5, 1.0, 3.0])), seed=round)
        chosen = sample_c(internals, logits, np.zeros(4001, bool), list[int](), round, settings)
        assert chosen == sample(logits, np.zeros(4001, bool), [], round, settings), round


@pytest.mark.parametrize(("behind", "count"), [(7.99, 3000), (8.01, 4000), (9.0, 8130), (20.0, 300), (40.0, 300)])
def test_most_of_the_mass_may_be_far_behind_the_best(internals: ct.CDLL, behind: float, count: int) -> None:
    random = np.random.default_rng(4)
    for round in range(12):
        logits = np.full(count + 70, -1e30, np.float32)
        logits[:count] = -behind - random.random(count) * 1e-3
        logits[round] = 0.0
        random.shuffle(logits)
        excluded = random.random(logits.size) < 0.01
        settings = drawing(top_p=float(random.choice([0.4, 0.9, 0.99, 0.999999])), temperature=1.0, seed=round)
        chosen = sample_c(internals, logits, excluded, list[int](), round, settings)
        assert chosen == sample(logits, excluded, [], round, settings), round


def test_greedy_takes_the_lowest_of_equals(internals: ct.CDLL) -> None:
    logits = np.array([0, 5, 5, 1], np.float32)
    none = np.zeros(4, bool)
    assert sample_c(internals, logits, none, [], 0, drawing(temperature=0)) == 1
    assert sample_c(internals, logits, none, [1], 0, drawing(temperature=0, repetition_penalty=1.01)) == 2
    assert sample_c(internals, logits, np.array([0, 1, 1, 0], bool), [], 0, drawing(temperature=0)) == 3


def test_greedy_in_blocks_of_any_values(internals: ct.CDLL) -> None:
    """What is in the way of comparing many logits at once: ends, NaN, infinities, excluded ones that are larger."""
    random = np.random.default_rng(2)
    values = np.array([np.nan, np.inf, -np.inf, LARGEST, -LARGEST, 0.0, -0.0, 1.0, 2.0], np.float32)
    for round in range(400):
        vocab = int(random.choice([63, 64, 65, 128, 129, 200, 320]))
        weights = random.random(values.size) ** 4
        logits = random.choice(values, vocab, p=weights / weights.sum())
        excluded = random.random(vocab) < random.choice([0.0, 0.5, 0.98])
        greedy, nothing = drawing(temperature=0), list[int]()
        chosen = sample_c(internals, logits, excluded, nothing, 0, greedy)
        assert chosen == sample(logits, excluded, nothing, 0, greedy), round


def test_nothing_to_choose(internals: ct.CDLL) -> None:
    logits = np.zeros(5, np.float32)
    assert sample_c(internals, logits, np.ones(5, bool), [], 0, drawing()) == -1
    assert sample_c(internals, np.full(5, np.nan, np.float32), np.zeros(5, bool), [], 0, drawing()) == -1


def test_a_token_that_occurs_twice_is_penalised_once(internals: ct.CDLL) -> None:
    logits = np.array([4.0, 3.5], np.float32)
    none = np.zeros(2, bool)
    settings = drawing(temperature=0, repetition_penalty=1.1)
    assert sample_c(internals, logits, none, [0, 0, 0], 0, settings) == 0  # 4 / 1.1 > 3.5 > 4 / 1.1**2


@pytest.mark.parametrize(
    "settings",
    [
        drawing(),
        drawing(temperature=0.7),
        drawing(temperature=1.5, top_p=0.9),
        drawing(top_k=5),
        drawing(temperature=2.0, top_k=9, top_p=0.8, repetition_penalty=1.3),
    ],
)
def test_frequencies_are_the_probabilities(settings: GenerateOptions, internals: ct.CDLL) -> None:
    """Chi-square over positions against float64 probabilities of the survivors; the seed is fixed."""
    random = np.random.default_rng(2)
    logits = random.standard_normal(16).astype(np.float32) * 2
    excluded = np.zeros(16, bool)
    excluded[3] = True
    history = [1, 2, 5]
    x = logits.astype(np.float64)
    for id in set(history):
        x[id] = x[id] / settings.repetition_penalty if x[id] > 0 else x[id] * settings.repetition_penalty
    x = np.where(excluded, -np.inf, x / settings.temperature)
    order = np.argsort(-x, kind="stable")[: settings.top_k or None]
    mass = np.exp(x[order] - x[order[0]])
    keep = order[: int(np.searchsorted(np.cumsum(mass) / mass.sum(), settings.top_p - 1e-9)) + 1]
    probability = np.zeros(16)
    probability[keep] = np.exp(x[keep]) / np.exp(x[keep]).sum()
    count = 20_000
    chosen = np.bincount(
        [sample_c(internals, logits, excluded, history, position, settings) for position in range(count)], minlength=16
    )
    assert (chosen[probability == 0] == 0).all()
    expected = probability[probability * count > 5] * count
    observed = chosen[probability * count > 5]
    statistic = float(((observed - expected) ** 2 / expected).sum())
    degrees = expected.size - 1
    assert degrees >= 2
    assert statistic < degrees + 5 * np.sqrt(2 * degrees)


def test_top_p_keeps_the_smallest_prefix_with_the_mass() -> None:
    random = np.random.default_rng(3)
    for _ in range(200):
        logits = (random.standard_normal(100) * 3).astype(np.float32)
        p = float(random.uniform(0.05, 0.99))
        _, ids = survivors(logits, np.zeros(100, bool), [], drawing(top_p=p))
        probability = np.exp(logits.astype(np.float64))
        probability /= probability.sum()
        mass = probability[ids].sum()
        assert mass >= p - 1e-6
        assert mass - probability[ids[-1]] < p + 1e-6
        assert probability[ids].min() >= np.delete(probability, ids).max()


def test_the_noise_has_the_right_shape() -> None:
    """-log(-log(u)) by our functions against float64, and its mean and variance; far tails reach over 20."""
    ids = np.arange(200_000)
    noise = gumbel(ids, 5, drawing(seed=9)).astype(np.float64)
    assert noise.mean() == pytest.approx(0.5772, abs=0.01)
    assert noise.var() == pytest.approx(np.pi**2 / 6, abs=0.03)
    assert not np.array_equal(noise, gumbel(ids, 6, drawing(seed=9)))
    assert not np.array_equal(noise, gumbel(ids, 5, drawing(seed=9, stream=1)))
    assert not np.array_equal(noise, gumbel(ids, 5, drawing(seed=9 + 2**32)))


def test_mathematics_of_the_python_sampler_is_that_of_the_compiler() -> None:
    random = np.random.default_rng(12)
    x = np.concatenate([random.standard_normal(20000) * s for s in (1e-6, 1, 30)]).astype(np.float32)
    edges = np.array([0, np.inf, -np.inf, numerics.EXP_MAX, numerics.EXP_MIN, 88.73, -87.34], np.float32)
    with np.errstate(all="ignore"):
        whole = np.concatenate([x, edges])
        assert np.array_equal(exact_math.exp(whole), numpy_math.exp_f32(whole))
        positive = np.abs(x[x != 0])
        assert np.array_equal(exact_math.log(positive), numpy_math.log_f32(positive))
        fractions = random.uniform(-1 + 2**-24, 0, 20000).astype(np.float32)
        assert np.array_equal(exact_math.log1p(fractions), numpy_math.log1p_f32(fractions))
    for size in (1, 7, 8, 9, 100):
        assert exact_math.lanes8_sum(x[:size]) == numpy_math.lanes8_sum(x[:size])
