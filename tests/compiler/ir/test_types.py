"""Tensor types: text form, sizes, binding of the token dimension."""

from __future__ import annotations

import numpy as np
import pytest

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir.types import DTYPES, TensorType, f32, i32


@pytest.mark.parametrize("text", ["f32[]", "i32[T]", "f16[7,3]", "i8[T,128]", "u8[8192]<t2.r8>", "f32[T,4,32]"])
def test_text_round_trip(text: str) -> None:
    assert str(TensorType.parse(text)) == text


@pytest.mark.parametrize("text", ["", "f32", "f64[3]", "f32[3", "f32[N]", "f32[-1]", "f32[3]<", "f32[1.5]", "f32[T2]"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InternalError, match="not a tensor type"):
        TensorType.parse(text)


def test_sizes_count_the_tokens_of_a_call() -> None:
    kind = TensorType("i8", ("T", 4, 32))
    assert (kind.elements(), kind.elements(16), kind.bytes(16)) == (128, 2048, 2048)
    assert f32("T", 4).bytes(3) == 48
    assert i32().bytes() == 4
    assert f32(0, 4).bytes() == 0


def test_binding() -> None:
    assert f32("T", 4).is_dynamic
    assert f32("T", 4).bind(5) == f32(5, 4)
    assert not f32(5, 4).is_dynamic
    assert f32(5, 4).bind(9) == f32(5, 4)


@pytest.mark.parametrize("name", DTYPES)
def test_type_of_an_array(name: str) -> None:
    array = np.zeros((2, 3), DTYPES[name])
    assert TensorType.of(array) == TensorType(name, (2, 3))
    assert TensorType.of(array).numpy == array.dtype
    assert TensorType.of(array).bytes() == array.nbytes


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.bool_])
def test_arrays_of_other_types(dtype: type) -> None:
    with pytest.raises(InternalError, match="there is no tensor type of"):
        TensorType.of(np.zeros(3, dtype))


def test_a_new_shape_has_no_layout() -> None:
    assert TensorType("u8", (64,), "t2.r8").with_shape((8, 8)) == TensorType("u8", (8, 8))
