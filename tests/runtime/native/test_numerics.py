"""The exact functions: close to the truth, total, and the same bits in numpy and C."""

from __future__ import annotations

import ctypes as ct
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from chimerac.compiler.ir import numerics, numpy_math

Floats = NDArray[np.float32]
NAMES = ["exp", "log", "log1p", "sigmoid", "silu", "softplus", "logsigmoid", "tanh", "erf", "gelu_erf"]
SPECIAL = np.array(
    [
        *(0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 1.1754944e-38, 3.4028235e38, -3.4028235e38),
        *(math.inf, -math.inf, math.nan, numerics.EXP_MIN, numerics.EXP_MAX, 88.72284, -87.33655),
        *(20.0, 20.000002, 0.625, 0.62499994, 4.0, 10.0, -100.0),
    ],
    np.float32,
)


def numpy_function(name: str) -> Callable[[Floats], Floats]:
    return getattr(numpy_math, f"{name}_f32")  # type: ignore[no-any-return]


def ulps(got: Floats, truth: NDArray[np.float64]) -> NDArray[np.float64]:
    exponent = np.floor(np.log2(np.maximum(np.abs(truth), float(np.finfo(np.float32).tiny))))
    return np.abs(got.astype(np.float64) - truth) / 2.0 ** (exponent - 23)


def softplus(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


@pytest.mark.parametrize(
    ("name", "low", "high", "reference", "bound"),
    [
        ("exp", -87.3, 88.7, np.exp, 1.0),
        ("exp", -1, 1, np.exp, 1.0),
        ("log", 0.5, 2, np.log, 1.0),
        ("log", 1e-30, 1e30, np.log, 1.0),
        ("log1p", 0, 2, np.log1p, 1.5),
        ("log1p", -0.99, 0, np.log1p, 1.5),
        ("log1p", 0, 1e-6, np.log1p, 1.5),
        ("sigmoid", -87, 30, lambda x: 1 / (1 + np.exp(-x)), 2.5),
        ("silu", -80, 30, lambda x: x / (1 + np.exp(-x)), 3.0),
        ("softplus", -87, 30, softplus, 2.5),
        ("logsigmoid", -30, 87, lambda x: -softplus(-x), 2.5),
        ("tanh", -12, 12, np.tanh, 2.0),
        ("tanh", -0.7, 0.7, np.tanh, 2.0),
    ],
)
def test_error_bounds(
    name: str, low: float, high: float, reference: Callable[..., NDArray[np.float64]], bound: float
) -> None:
    x = np.random.default_rng(1).uniform(low, high, 300_000).astype(np.float32)
    assert ulps(numpy_function(name)(x), reference(x.astype(np.float64))).max() <= bound


def test_log_over_all_exponents() -> None:
    bits = np.random.default_rng(2).integers(1, 0x7F800000, 300_000).astype(np.int32)
    x = bits.view(np.float32)
    assert ulps(numpy_math.log_f32(x), np.log(x.astype(np.float64))).max() <= 1.0


def test_erf_and_gelu() -> None:
    x = np.random.default_rng(3).uniform(-4.5, 4.5, 100_000).astype(np.float32)
    truth = np.array([math.erf(value) for value in x])
    assert ulps(numpy_math.erf_f32(x), truth).max() <= 2.0
    gelu = x.astype(np.float64) / 2 * (1 + np.array([math.erf(value / math.sqrt(2)) for value in x]))
    assert (np.abs(numpy_math.gelu_erf_f32(x) - gelu) / np.maximum(1, np.abs(x))).max() <= 1.5e-7


def test_sine_and_cosine_of_a_phase() -> None:
    phase = np.random.default_rng(4).integers(0, 2**32, 300_000, dtype=np.uint32)
    phase[:5] = [0, 2**30, 2**31, 3 * 2**30, 2**32 - 1]
    angle = phase.astype(np.float64) * (2 * np.pi / 2**32)
    sine, cosine = numpy_math.sin_cos_phase_f32(phase)
    assert np.abs(sine - np.sin(angle)).max() <= 1.3e-7
    assert np.abs(cosine - np.cos(angle)).max() <= 1.3e-7
    assert sine[:4].tolist() == [0, 1, 0, -1]
    assert cosine[:4].tolist() == [1, 0, -1, 0]


@pytest.mark.parametrize("name", NAMES)
def test_nan_gives_the_canonical_nan(name: str) -> None:
    patterns = np.array([0x7FC00000, 0x7F800001, 0xFFC12345, 0xFFFFFFFF], np.uint32).view(np.float32)
    assert numpy_function(name)(patterns).view(np.uint32).tolist() == [0x7FC00000] * 4


def test_limits() -> None:
    infinity = np.float32(np.inf)
    assert numpy_math.exp_f32(np.array([-infinity, infinity, 0.0, -0.0], np.float32)).tolist() == [0, np.inf, 1, 1]
    assert np.isfinite(numpy_math.exp_f32(np.float32(numerics.EXP_MAX)))
    assert numpy_math.exp_f32(np.nextafter(np.float32(numerics.EXP_MAX), infinity)) == np.inf
    assert numpy_math.exp_f32(np.nextafter(np.float32(numerics.EXP_MIN), -infinity)) == 0
    assert numpy_math.log_f32(np.array([0.0, -0.0, infinity, 1.0], np.float32)).tolist() == [
        -np.inf,
        -np.inf,
        np.inf,
        0,
    ]
    assert np.isnan(numpy_math.log_f32(np.float32(-1e-45)))
    assert numpy_math.sigmoid_f32(np.array([-infinity, infinity, 0], np.float32)).tolist() == [0, 1, 0.5]
    assert numpy_math.silu_f32(np.array([-infinity, infinity], np.float32)).tolist() == [0, np.inf]
    assert numpy_math.tanh_f32(np.array([-infinity, infinity, -0.0], np.float32)).tolist() == [-1, 1, 0]
    assert numpy_math.softplus_f32(np.array([-infinity, infinity, 50], np.float32)).tolist() == [0, np.inf, 50]


def test_maximum_and_minimum_take_the_second_of_unordered() -> None:
    nan, one = np.float32(np.nan), np.float32(1)
    assert numpy_math.maximum_f32(nan, one) == 1
    assert np.isnan(numpy_math.maximum_f32(one, nan))
    assert np.signbit(numpy_math.maximum_f32(np.float32(0.0), np.float32(-0.0)))
    assert np.signbit(numpy_math.minimum_f32(np.float32(0.0), np.float32(-0.0)))


def test_other_dtypes_are_refused() -> None:
    with pytest.raises(TypeError, match="float32"):
        numpy_math.exp_f32(np.zeros(3))
    with pytest.raises(TypeError, match="uint32"):
        numpy_math.sin_cos_phase_f32(np.zeros(3, np.int64))


@pytest.mark.parametrize("name", NAMES)
def test_c_is_numpy_bit_for_bit(name: str, internals: ct.CDLL) -> None:
    random = np.random.default_rng(5)
    everything = random.integers(0, 2**32, 600_000, dtype=np.uint32).view(np.float32)
    usual = random.uniform(-30, 30, 300_000).astype(np.float32)
    x = np.concatenate([SPECIAL, everything, usual])
    if name == "log1p":
        x = np.where(x <= -1, np.abs(x), x)
    y = np.empty_like(x)
    getattr(internals, f"test_{name}")(x.ctypes.data_as(ct.c_void_p), y.ctypes.data_as(ct.c_void_p), ct.c_int64(x.size))
    expected = numpy_function(name)(x)
    different = np.flatnonzero(y.view(np.uint32) != expected.view(np.uint32))
    assert different.size == 0, (x[different[:5]], y[different[:5]], expected[different[:5]])


def test_c_sine_and_cosine_are_numpy_bit_for_bit(internals: ct.CDLL) -> None:
    phase = np.random.default_rng(6).integers(0, 2**32, 1_000_000, dtype=np.uint32)
    sine, cosine = np.empty((2, phase.size), np.float32)
    pointers = [array.ctypes.data_as(ct.c_void_p) for array in (phase, sine, cosine)]
    internals.test_sin_cos(*pointers, ct.c_int64(phase.size))
    for got, expected in zip((sine, cosine), numpy_math.sin_cos_phase_f32(phase), strict=True):
        assert np.array_equal(got.view(np.uint32), expected.view(np.uint32))


def test_lanes8_sum_is_the_written_order(internals: ct.CDLL) -> None:
    internals.test_lanes8_sum.restype = ct.c_float
    random = np.random.default_rng(7)
    for size in [0, 1, 4, 5, 7, 8, 9, 15, 16, 17, 63, 64, 65, 1000]:
        x = (random.standard_normal(size) * 10.0 ** random.integers(-8, 8, size)).astype(np.float32)
        lanes = [np.float32(0.0)] * 8
        for index, value in enumerate(x):
            lanes[index % 8] = np.float32(lanes[index % 8] + value)
        a, b, c, d = (np.float32(lanes[k] + lanes[k + 4]) for k in range(4))
        expected = np.float32(np.float32(a + c) + np.float32(b + d))
        assert numpy_math.lanes8_sum(x) == expected
        assert np.float32(internals.test_lanes8_sum(x.ctypes.data_as(ct.c_void_p), ct.c_uint64(size))) == expected
    matrix = random.standard_normal((3, 5, 20)).astype(np.float32)
    assert np.array_equal(numpy_math.lanes8_sum(matrix, axis=1), numpy_math.lanes8_sum(np.moveaxis(matrix, 1, -1)))
    assert numpy_math.lanes8_sum(np.array([-0.0], np.float32)).view(np.uint32) == 0, "the lanes start from +0"
