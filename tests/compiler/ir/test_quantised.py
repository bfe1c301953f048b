"""Weights as integers with scales: their value, and what is made of floats, whole or in parts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from ir_tools import assert_same_bits, draw

from chimerac.compiler.ir.module import Constant
from chimerac.compiler.ir.ops.linear import quantise_rows, ternarise
from chimerac.compiler.ir.quantised import Kind, Quantised, dequantise, quantise
from chimerac.compiler.ir.types import TensorType

SHAPES = [(5, 20), (3, 128), (2, 3, 9), (3, 4, 200)]


def constant(array: np.ndarray, *, in_parts: bool) -> Constant:
    def parts() -> Iterator[np.ndarray]:
        for start in range(0, len(array), 2):
            yield array[start : start + 2]

    return Constant(TensorType.of(array), parts if in_parts else array)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["trits", "int8"])
@pytest.mark.parametrize("in_parts", [False, True])
def test_floats_become_integers(shape: tuple[int, ...], kind: Kind, in_parts: bool) -> None:
    weight = draw(1, *shape)
    found = quantise(constant(weight, in_parts=in_parts), kind, 8, "w")
    codes, scales = (ternarise if kind == "trits" else quantise_rows)(weight, 8)
    assert (found.codes.computed, found.scales.computed) == (in_parts, in_parts)
    assert_same_bits(found.codes.data, codes)
    assert_same_bits(found.scales.data, scales)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("in_parts", [False, True])
def test_the_value_is_codes_times_scales(shape: tuple[int, ...], in_parts: bool) -> None:
    rng = np.random.default_rng(2)
    codes = rng.integers(-127, 128, shape).astype(np.int8)
    scales = rng.standard_normal((*shape[:-1], -(-shape[-1] // 8))).astype(np.float16)
    given = Quantised("int8", 8, constant(codes, in_parts=in_parts), constant(scales, in_parts=in_parts))
    weight = Constant(TensorType("f32", shape), given)
    expected = [
        np.float64(codes[index]) * np.float64(scales[(*index[:-1], index[-1] // 8)]) for index in np.ndindex(shape)
    ]
    assert weight.data.dtype == np.float32
    assert weight.data.reshape(-1).tolist() == expected
    assert_same_bits(dequantise(codes, scales, 8), weight.data)


def test_integers_that_fit_are_handed_on() -> None:
    codes, scales = (constant(a, in_parts=False) for a in ternarise(draw(3, 4, 16), 8))
    given = Quantised("trits", 8, codes, scales)
    weight = Constant(TensorType("f32", (4, 16)), given)
    assert quantise(weight, "trits", 8, "w") is given
    assert quantise(weight, "trits", 16, "w") is not given
    assert quantise(weight, "int8", 8, "w") is not given
