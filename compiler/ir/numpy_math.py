"""The float32 functions of numerics.py on numpy arrays, and the sum in the one order that every target uses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chimerac.compiler.ir import numerics

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]
BoolArray = NDArray[np.bool_]


class NumpyOps:
    """``Ops`` over numpy arrays; call it inside ``np.errstate(all="ignore")``."""

    def f32(self, value: float) -> FloatArray:
        return np.array([value], np.float32)

    def i32(self, value: int) -> IntArray:
        return np.array([value], np.int32)

    def add(self, a: FloatArray, b: FloatArray) -> FloatArray:
        return a + b

    def sub(self, a: FloatArray, b: FloatArray) -> FloatArray:
        return a - b

    def mul(self, a: FloatArray, b: FloatArray) -> FloatArray:
        return a * b

    def div(self, a: FloatArray, b: FloatArray) -> FloatArray:
        return a / b

    def sqrt(self, a: FloatArray) -> FloatArray:
        return np.sqrt(a)

    def round_even(self, a: FloatArray) -> FloatArray:
        return np.rint(a)

    def less(self, a: FloatArray, b: FloatArray) -> BoolArray:
        return a < b

    def greater(self, a: FloatArray, b: FloatArray) -> BoolArray:
        return a > b

    def equal(self, a: FloatArray, b: FloatArray) -> BoolArray:
        result: BoolArray = np.equal(a, b)
        return result

    def select(self, condition: BoolArray, a: FloatArray, b: FloatArray) -> FloatArray:
        return np.where(condition, a, b)

    def bits(self, a: FloatArray) -> IntArray:
        return a.view(np.int32)

    def from_bits(self, a: IntArray) -> FloatArray:
        return a.view(np.float32)

    def to_int(self, a: FloatArray) -> IntArray:
        return a.astype(np.int32)

    def to_float(self, a: IntArray) -> FloatArray:
        return a.astype(np.float32)

    def iadd(self, a: IntArray, b: IntArray) -> IntArray:
        return a + b

    def isub(self, a: IntArray, b: IntArray) -> IntArray:
        return a - b

    def imul(self, a: IntArray, b: IntArray) -> IntArray:
        return a * b

    def idiv(self, a: IntArray, b: IntArray) -> IntArray:
        floor: IntArray = np.floor_divide(a, b)
        up = (floor * b != a) & ((a < 0) != (b < 0))  # numpy rounds down
        result: IntArray = floor + up.astype(np.int32)
        return result

    def iand(self, a: IntArray, b: IntArray) -> IntArray:
        return a & b

    def ior(self, a: IntArray, b: IntArray) -> IntArray:
        return a | b

    def ixor(self, a: IntArray, b: IntArray) -> IntArray:
        return a ^ b

    def ishl(self, a: IntArray, count: int) -> IntArray:
        return np.left_shift(a, np.int32(count))

    def isar(self, a: IntArray, count: int) -> IntArray:
        return np.right_shift(a, np.int32(count))

    def iless(self, a: IntArray, b: IntArray) -> BoolArray:
        return a < b

    def iequal(self, a: IntArray, b: IntArray) -> BoolArray:
        result: BoolArray = np.equal(a, b)
        return result

    def iselect(self, condition: BoolArray, a: IntArray, b: IntArray) -> IntArray:
        return np.where(condition, a, b)


NUMPY = NumpyOps()


def _float_input(x: ArrayLike) -> tuple[FloatArray, tuple[int, ...]]:
    array = np.asarray(x)
    if array.dtype != np.float32:
        raise TypeError(f"exact numerics take float32, not {array.dtype}")
    return np.atleast_1d(array), array.shape


def _of_floats(function: Callable[[NumpyOps, FloatArray], FloatArray]) -> Callable[[ArrayLike], FloatArray]:
    """The function on a float32 array of any shape."""

    def apply(x: ArrayLike) -> FloatArray:
        array, shape = _float_input(x)
        with np.errstate(all="ignore"):
            return function(NUMPY, array).reshape(shape)

    return apply


exp_f32 = _of_floats(numerics.exp)
log_f32 = _of_floats(numerics.log)
log1p_f32 = _of_floats(numerics.log1p)
sigmoid_f32 = _of_floats(numerics.sigmoid)
silu_f32 = _of_floats(numerics.silu)
softplus_f32 = _of_floats(numerics.softplus)
logsigmoid_f32 = _of_floats(numerics.logsigmoid)
tanh_f32 = _of_floats(numerics.tanh)
erf_f32 = _of_floats(numerics.erf)
gelu_erf_f32 = _of_floats(numerics.gelu_erf)


def sin_cos_phase_f32(phase: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """``sin_cos_phase`` of a uint32 array of any shape: (sine, cosine) as float32 of the same shape."""
    array = np.asarray(phase)
    if array.dtype != np.uint32:
        raise TypeError(f"a phase is uint32, not {array.dtype}")
    with np.errstate(all="ignore"):
        sine, cosine = numerics.sin_cos_phase(NUMPY, np.atleast_1d(array).view(np.int32))
    return sine.reshape(array.shape), cosine.reshape(array.shape)


def maximum_f32(a: ArrayLike, b: ArrayLike) -> FloatArray:
    """``a if a > b else b`` element by element."""
    x, y = np.asarray(a, np.float32), np.asarray(b, np.float32)
    return np.where(x > y, x, y)


def minimum_f32(a: ArrayLike, b: ArrayLike) -> FloatArray:
    """``a if a < b else b`` element by element."""
    x, y = np.asarray(a, np.float32), np.asarray(b, np.float32)
    return np.where(x < y, x, y)


def lanes8_sum(x: ArrayLike, axis: int = -1) -> FloatArray:
    """Sum of float32 values along an axis in the one order that every target uses.

    Lane j of 8 starts from +0.0 and adds elements j, j + 8, j + 16, … in this order (missing ones at the end count as
    +0.0); then lanes 0..3 + lanes 4..7, then the first two of these + the last two, then one addition.
    """
    array = np.moveaxis(np.asarray(x), axis, -1)
    if array.dtype != np.float32:
        raise TypeError(f"exact numerics take float32, not {array.dtype}")
    steps = -(-array.shape[-1] // 8)
    padded = np.zeros((*array.shape[:-1], steps * 8), np.float32)
    padded[..., : array.shape[-1]] = array
    lanes = np.zeros((*array.shape[:-1], 8), np.float32)
    for step in range(steps):
        lanes = lanes + padded[..., step * 8 : step * 8 + 8]
    four = lanes[..., 0:4] + lanes[..., 4:8]
    two = four[..., 0:2] + four[..., 2:4]
    result: FloatArray = np.asarray(two[..., 0] + two[..., 1])
    return result
