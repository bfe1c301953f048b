"""Powers, sines and rounding: close to the truth everywhere, with the special cases of C."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from chimerac.compiler.ir import powers, whole_numbers
from chimerac.compiler.ir.numpy_math import NUMPY

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
RANDOM = np.random.default_rng(11)
EDGES = [0, -0.0, 1, -1, 2, -2, 0.5, -0.5, 3, -3, 1e-45, 3e38, -3e38, 1.5, 2**24, 2**24 + 2, 1e30, -1e30, -7]
SPECIAL = np.array([*EDGES, np.inf, -np.inf, np.nan], np.float32)


def ulps(got: np.ndarray, truth: np.ndarray) -> np.ndarray:
    exponent = np.floor(np.log2(np.maximum(np.abs(truth), float(np.finfo(np.float32).tiny))))
    return np.asarray(np.abs(got.astype(np.float64) - truth) / 2.0 ** (exponent - 23))


@pytest.mark.parametrize(
    ("function", "low", "high", "truth", "bound"),
    [
        (powers.expm1, -80, 80, np.expm1, 3.5),
        (powers.expm1, -0.36, 0.36, np.expm1, 3.5),
        (powers.log1p_total, -0.9999999, 5, np.log1p, 1.5),
        (powers.log1p_total, -1e-4, 1e-4, np.log1p, 1.5),
        (powers.rsqrt, 1e-30, 1e30, lambda x: 1 / np.sqrt(x), 1.5),
        (powers.sine, -math.pi / 4, math.pi / 4, np.sin, 1.0),
    ],
)
def test_error_bounds(
    function: Callable[..., np.ndarray], low: float, high: float, truth: Callable[..., np.ndarray], bound: float
) -> None:
    x = RANDOM.uniform(low, high, 200_000).astype(np.float32)
    assert ulps(function(NUMPY, x), truth(x.astype(np.float64))).max() <= bound


@pytest.mark.parametrize("size", [1.0, 100.0, 1e6, None])
def test_sines_of_any_size(size: float | None) -> None:
    x = RANDOM.integers(0, 2**32, 200_000, dtype=np.uint32).view(np.float32)
    x = x[np.isfinite(x)] if size is None else RANDOM.uniform(-size, size, 200_000).astype(np.float32)
    assert np.abs(powers.sine(NUMPY, x) - np.sin(x.astype(np.float64))).max() <= 1.3e-7
    assert np.abs(powers.cosine(NUMPY, x) - np.cos(x.astype(np.float64))).max() <= 1.3e-7


def test_the_turn_has_all_its_bits() -> None:
    """Pi by Machin's formula, in integers."""

    def arctangent(x: int, one: int) -> int:
        total, term, n = 0, one // x, 1
        while term:
            total += term // n if n % 4 == 1 else -(term // n)
            term, n = term // (x * x), n + 2
        return total

    one = 1 << 300
    pi = Fraction(4 * (4 * arctangent(5, one) - arctangent(239, one)), one)
    assert math.floor(2**176 / (2 * pi)) == powers.TURNS


@pytest.mark.parametrize(
    ("bases", "exponents", "bound"),
    [((0.3, 3), 20, 2.5), ((1e-3, 1e3), 10, 2.5), ((0.99, 1.01), 8000, 2.5), ((0.7, 1.42), 250, 16)],
)
def test_powers(bases: tuple[float, float], exponents: float, bound: float) -> None:
    a = np.exp(RANDOM.uniform(math.log(bases[0]), math.log(bases[1]), 200_000)).astype(np.float32)
    b = RANDOM.uniform(-exponents, exponents, 200_000).astype(np.float32)
    truth = np.power(a.astype(np.float64), b.astype(np.float64))
    inside = (truth < 3.3e38) & (truth > 1.2e-38)
    assert ulps(powers.power(NUMPY, a, b), truth)[inside].max() <= bound


def test_special_powers_are_those_of_c() -> None:
    a, b = np.repeat(SPECIAL, SPECIAL.size), np.tile(SPECIAL, SPECIAL.size)
    got = powers.power(NUMPY, a, b)
    for base, exponent, found in zip(a.tolist(), b.tolist(), got.tolist(), strict=True):
        try:
            truth = math.pow(base, exponent)
        except ValueError:  # what C calls a domain error: NaN, or a pole
            odd = exponent == math.floor(exponent) and exponent % 2 == 1
            truth = math.copysign(math.inf, base if odd else 1) if base == 0 else math.nan
        except OverflowError:
            truth = math.inf if base > 0 or exponent % 2 == 0 else -math.inf
        truth = math.copysign(0, truth) if abs(truth) < 1.2e-38 else truth
        truth = math.copysign(math.inf, truth) if abs(truth) > 3.5e38 else truth
        same = math.isnan(found) if math.isnan(truth) else math.isclose(found, truth, rel_tol=1e-6)
        assert (same and math.copysign(1, found) == math.copysign(1, truth)) or math.isnan(found), (base, exponent)
        assert same, (base, exponent, found, truth)


@pytest.mark.parametrize("name", ["floor", "ceil", "trunc", "sign"])
def test_rounding_is_numpys_with_the_sign_of_zeros(name: str) -> None:
    large = RANDOM.uniform(2**22, 2**24, 2000)
    x = np.concatenate([SPECIAL, RANDOM.uniform(-5, 5, 2000), large, -large]).astype(np.float32)
    x = x[~np.isnan(x)]
    got, truth = getattr(whole_numbers, name)(NUMPY, x), getattr(np, name)(x)
    np.testing.assert_array_equal(got, truth)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(truth) if name != "sign" else np.signbit(got))
