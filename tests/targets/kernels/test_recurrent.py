"""Kernels of the recurrences against the numpy references, at edge sizes and special values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from kernel_harness import IN_TURN, Case, case, check, check_in_turn, native_isas

RANDOM = np.random.default_rng(23)
#: (heads, head width, tokens): every edge size of each, not every combination
SIZES = ((1, 4, 1), (2, 8, 5), (3, 16, 2), (1, 20, 16), (3, 32, 1), (2, 64, 2))
GATES = range(5)  #: operands with a token dimension of most ops: three rows and two gates


def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (RANDOM.standard_normal(shape) * scale).astype(np.float32)


def unit(*shape: int) -> np.ndarray:
    x = normal(*shape)
    normed: np.ndarray = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return normed.astype(np.float32)


def gate(*shape: int) -> np.ndarray:
    return RANDOM.random(shape).astype(np.float32)


def gated_delta(heads: int, keys: int, values: int, n: int) -> list[np.ndarray]:
    rows = [normal(n, heads, keys), unit(n, heads, keys), normal(n, heads, values)]
    return [*rows, -3 * gate(n, heads), gate(n, heads), normal(heads, keys, values)]


def shared_gated_delta(heads: int, pairs: int, keys: int, values: int, n: int) -> list[np.ndarray]:
    """Of heads of values that share fewer heads of keys."""
    rows = [normal(n, pairs, keys), unit(n, pairs, keys), normal(n, heads, values)]
    return [*rows, -3 * gate(n, heads), gate(n, heads), normal(heads, keys, values)]


def mlstm(heads: int, keys: int, values: int, n: int) -> list[np.ndarray]:
    rows = [normal(n, heads, keys), normal(n, heads, keys), normal(n, heads, values)]
    gates = [normal(n, heads, scale=4), normal(n, heads, scale=4)]
    return [*rows, *gates, normal(heads, keys, values), normal(heads, keys), normal(heads)]


def titans_update(heads: int, width: int, n: int, write: int) -> list[np.ndarray]:
    gates = [gate(n, heads) for _ in range(3)]
    states = [normal(heads, 2, width, width, scale=0.3) for _ in range(3)]
    return [unit(n, heads, width), normal(n, heads, width), *gates, *states, np.array(write, np.int32)]


def test_causal_conv(tmp_path: Path) -> None:
    cases = []
    for channels, width, n in (
        (4, 4, 1),
        (8, 4, 5),
        (20, 4, 16),
        (64, 4, 2),
        (37, 3, 4),
        (9, 2, 1),
        (16, 1, 3),
        (203, 4, 2),
    ):
        operands = [normal(n, channels), normal(channels, width), normal(width - 1, channels)]
        cases.append(case("causal_conv", operands, tokens=[0]))
    cases.append(case("causal_conv", [normal(1, 24), normal(24, 4), normal(3, 24)], tokens=[]))
    check(cases, native_isas(), tmp_path)


@IN_TURN
def test_gated_delta(every: int, tmp_path: Path) -> None:
    cases = [case("gated_delta", gated_delta(h, d, d, n), {"scale": d**-0.5}, tokens=GATES) for h, d, n in SIZES]
    cases.append(case("gated_delta", gated_delta(2, 8, 20, 3), {"scale": 0.3}, tokens=GATES))
    cases.append(case("gated_delta", gated_delta(1, 5, 130, 2), {"scale": 1.0}, tokens=GATES))
    cases.append(case("gated_delta", gated_delta(2, 12, 12, 1), {"scale": 1.0}, tokens=[]))
    for heads, pairs, n in ((6, 2, 5), (4, 1, 1), (6, 3, 2)):
        cases.append(case("gated_delta", shared_gated_delta(heads, pairs, 12, 20, n), {"scale": 0.3}, tokens=GATES))
    check_in_turn(cases, native_isas(), tmp_path, every)


def without_rates(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Operands of gated_linear_attention, from those of gated_delta."""
    return [*arrays[:4], arrays[5]]


@IN_TURN
def test_gated_linear_attention(every: int, tmp_path: Path) -> None:
    name, tokens = "gated_linear_attention", range(4)
    drawn = [(gated_delta(h, d, d, n), d**-0.5) for h, d, n in SIZES]
    drawn += [(gated_delta(2, 8, 20, 3), 0.3), (gated_delta(1, 5, 130, 2), 1.0)]
    drawn += [(shared_gated_delta(h, g, 12, 20, n), 0.3) for h, g, n in ((6, 2, 5), (4, 1, 1), (6, 3, 2))]
    cases = [case(name, without_rates(arrays), {"scale": scale}, tokens=tokens) for arrays, scale in drawn]
    cases.append(case(name, without_rates(gated_delta(2, 12, 12, 1)), {"scale": 1.0}, tokens=[]))
    check_in_turn(cases, native_isas(), tmp_path, every)


def generalized_delta(heads: int, keys: int, values: int, n: int) -> list[np.ndarray]:
    r, removed, v, *_, state = gated_delta(heads, keys, values, n)
    rows = [gate(n, heads, keys), normal(n, heads, keys), v, -removed, removed * gate(n, heads, keys)]
    return [r, *rows, state]


@IN_TURN
def test_generalized_delta(every: int, tmp_path: Path) -> None:
    drawn = [generalized_delta(h, d, d, n) for h, d, n in SIZES]
    drawn += [generalized_delta(2, 8, 20, 3), generalized_delta(1, 5, 130, 2)]
    cases = [case("generalized_delta", arrays, tokens=range(6)) for arrays in drawn]
    cases.append(case("generalized_delta", generalized_delta(2, 12, 12, 1), tokens=[]))
    check_in_turn(cases, native_isas(), tmp_path, every)


@IN_TURN
def test_mlstm(every: int, tmp_path: Path) -> None:
    cases = [case("mlstm", mlstm(h, d, d, n), {"scale": d**-0.5}, tokens=GATES) for h, d, n in SIZES]
    cases.append(case("mlstm", mlstm(2, 20, 7, 3), {"scale": 0.3}, tokens=GATES))
    first = mlstm(1, 8, 8, 2)
    first[5:] = [np.zeros_like(state) for state in first[5:]]  # the very first tokens of a session
    cases.append(case("mlstm", first, {"scale": 1.0}, tokens=GATES))
    check_in_turn(cases, native_isas(), tmp_path, every)


def special(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Signed zeros, infinities, NaNs, subnormal and huge numbers sprinkled over float operands."""
    values = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 3e38, -3e38, 100.0, -100.0], np.float32)
    changed = []
    for array in arrays:
        if array.dtype == np.float32:
            array = np.where(RANDOM.random(array.shape) < 0.02, RANDOM.choice(values, array.shape), array)
        changed.append(array)
    return changed


def test_special_values(tmp_path: Path) -> None:
    cases: list[Case] = []
    for _ in range(8):
        cases.append(case("gated_delta", special(gated_delta(3, 8, 8, 2)), {"scale": 0.5}, tokens=GATES))
        odd = without_rates(special(gated_delta(3, 8, 8, 2)))
        cases.append(case("gated_linear_attention", odd, {"scale": 0.5}, tokens=range(4)))
        cases.append(case("generalized_delta", special(generalized_delta(3, 8, 8, 2)), tokens=range(6)))
        cases.append(case("mlstm", special(mlstm(3, 8, 8, 2)), {"scale": 0.5}, tokens=GATES))
        update = special(titans_update(3, 8, 2, 1))
        cases.append(case("titans_update", update, tokens=GATES))
        cases.append(case("titans_apply", [update[0], update[5]], tokens=[0]))
        convolution = special([normal(3, 12), normal(12, 4), normal(3, 12)])
        cases.append(case("causal_conv", convolution, tokens=[0]))
    check(cases, native_isas(), tmp_path)


def test_sums_start_from_positive_zero(tmp_path: Path) -> None:
    """Sums of negative zeros only are +0, so the leading ``0 +`` must not be simplified away."""
    convolution = [np.full((2, 8), -0.0, np.float32), gate(8, 4), np.full((3, 8), -0.0, np.float32)]
    delta = gated_delta(2, 8, 8, 2)
    lstm = mlstm(2, 8, 8, 2)
    for operands in (delta, lstm):
        operands[0][:] = -0.0  # q, so that q S sums up negative zeros
        operands[1][:] = -0.0
    generalized = generalized_delta(2, 8, 8, 2)
    for rows in (generalized[0], generalized[2], generalized[4]):
        rows[:] = -0.0
    delta[5], generalized[6], lstm[5], lstm[6] = gate(2, 8, 8), gate(2, 8, 8), gate(2, 8, 8), gate(2, 8)
    cases = [
        case("causal_conv", convolution, tokens=[0]),
        case("gated_delta", delta, {"scale": 1.0}, tokens=GATES),
        case("gated_linear_attention", without_rates(delta), {"scale": 1.0}, tokens=range(4)),
        case("generalized_delta", generalized, tokens=range(6)),
        case("mlstm", lstm, {"scale": 1.0}, tokens=GATES),
        case("titans_apply", [delta[0], gate(2, 2, 8, 8)], tokens=[0]),
    ]
    check(cases, native_isas(), tmp_path)


def test_titans_anchor(tmp_path: Path) -> None:
    anchor, memory = normal(3, 2, 4, 4), normal(3, 2, 4, 4)
    cases = []
    for chunk, write, position in [(16, w, p) for w in (0, 1) for p in (0, 1, 15, 16, 17, 2**30)] + [
        (1, 1, 5),
        (3, 1, 9),
    ]:
        operands = [anchor, memory, np.array(position, np.int32), np.array(write, np.int32)]
        cases.append(case("titans_anchor", operands, {"chunk": chunk}, tokens=[]))
    check(cases, native_isas(), tmp_path)


@IN_TURN
def test_titans_apply(every: int, tmp_path: Path) -> None:
    cases = [case("titans_apply", [normal(n, h, d), normal(h, 2, d, d)], tokens=[0]) for h, d, n in SIZES]
    check_in_turn(cases, native_isas(), tmp_path, every)


@IN_TURN
def test_titans_update(every: int, tmp_path: Path) -> None:
    cases = [
        case("titans_update", titans_update(h, d, n, write), tokens=GATES) for h, d, n in SIZES for write in (0, 1)
    ]
    check_in_turn(cases, native_isas(), tmp_path, every)
