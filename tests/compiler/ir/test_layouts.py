"""Packed layouts: there and back, the documented place of a weight, and golden bytes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from project import TESTS

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir import base3, layouts
from chimerac.compiler.ir.types import TensorType

GOLDEN = TESTS / "golden" / "layouts.json"


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 31])
@pytest.mark.parametrize("columns", [1, 15, 16, 63, 64, 65, 200])
@pytest.mark.parametrize("panel_rows", [4, 8])
@pytest.mark.parametrize("form", layouts.FORMS)
def test_there_and_back(rows: int, columns: int, panel_rows: int, form: str) -> None:
    random = np.random.default_rng(rows * 1000 + columns)
    trits = random.integers(-1, 2, (3, rows, columns)).astype(np.int8)
    packed = layouts.pack_ternary(trits, panel_rows, form)
    assert layouts.packed_type(TensorType.of(trits), panel_rows, form) == TensorType(
        "u8", packed.shape, layouts.ternary_layout(panel_rows, form)
    )
    type_ = TensorType("u8", packed.shape, layouts.ternary_layout(panel_rows, form))
    np.testing.assert_array_equal(layouts.unpack(type_, packed, rows, columns), trits)
    # experts follow each other, each packed as it would be alone
    np.testing.assert_array_equal(layouts.pack_ternary(trits[1], panel_rows, form), packed[1])

    scales = random.random((3, rows, -(-columns // 128))).astype(np.float16)
    panels = layouts.pack_scales(scales, panel_rows)
    type_ = TensorType("f16", panels.shape, layouts.scale_layout(panel_rows))
    np.testing.assert_array_equal(layouts.unpack(type_, panels, rows, columns), scales)


def test_where_a_weight_lies() -> None:
    """Row 10, column 64 + 2·16 + 3·4 + 1 of a matrix of 128 columns: panel 1, step 6, plane 3, byte 4·2 + 1."""
    trits = np.zeros((16, 128), np.int8)
    trits[10, 64 + 2 * 16 + 3 * 4 + 1] = -1
    packed = layouts.pack_ternary(trits, 8)
    (place,) = np.flatnonzero(packed != 0b01010101)
    assert place == (1 * 8 + 6) * 32 + 4 * 2 + 1
    assert packed[place] == 0b00010101


def test_where_a_weight_of_base_3_lies() -> None:
    """Row 10, column 4·(5·6 + 3) + 1 of a matrix of 160 columns: panel 1, vector 6, digit 3, byte 4·2 + 1."""
    trits = np.zeros((16, 160), np.int8)
    trits[10, 4 * (5 * 6 + 3) + 1] = -1
    packed = layouts.pack_ternary(trits, 8, "t5")
    (place,) = np.flatnonzero(packed != -(-256 * 0b1111001 // 243))  # 11111 in base 3 is 121
    assert place == (1 * 8 + 6) * 32 + 4 * 2 + 1
    assert packed[place] == -(-256 * (121 - 3) // 243)


def test_every_byte_of_base_3() -> None:
    """The five digits of all 243 numbers, against division."""
    numbers = np.arange(243)
    codes = np.array([numbers // 3**k % 3 for k in (4, 3, 2, 1, 0)])
    words = codes.T.astype(np.uint32) * np.uint32(0x01010101)
    packed = base3.encode(words.reshape(-1))
    np.testing.assert_array_equal(base3.decode(packed).reshape(243, 5), words)
    np.testing.assert_array_equal(base3.digits(packed.view(np.uint8)[::4]), codes)


def test_sizes() -> None:
    assert layouts.ternary_bytes(6912, 2560, 8, "t5") == 6912 * 2560 // 5
    assert layouts.ternary_bytes(6912, 2560, 8) == 6912 * 2560 // 4


@pytest.mark.parametrize("form", layouts.FORMS)
def test_padding_has_no_weight(form: str) -> None:
    packed = layouts.pack_ternary(np.full((3, 10), -1, np.int8), 8, form)
    assert layouts.unpack_ternary(packed, 8, 16, 8, form).sum() == -30
    assert (layouts.pack_scales(np.ones((3, 1), np.float16), 8).reshape(-1)[3:] == 0).all()


def test_golden_bytes() -> None:
    """A layout may not change once weights are stored in it: give the new arrangement a new name."""
    golden = json.loads(GOLDEN.read_text())
    trits = (np.arange(9 * 70).reshape(9, 70) * 7 % 11 % 3 - 1).astype(np.int8)
    scales = (np.arange(9 * 2).reshape(9, 2) / 16).astype(np.float16)
    for form in layouts.FORMS:
        assert layouts.pack_ternary(trits, 8, form).tobytes().hex() == golden[f"{form}.r8"]
    assert layouts.pack_scales(scales, 8).tobytes().hex() == golden["panel.r8"]


def test_plain_weights_come_back_as_they_are() -> None:
    weights = np.arange(12, dtype=np.int8).reshape(3, 4)
    assert layouts.unpack(TensorType.of(weights), weights, 3, 4) is weights


def test_unknown_layout() -> None:
    with pytest.raises(InternalError, match="no packed layout"):
        layouts.unpack(TensorType("u8", (4,), "t9.r8"), np.zeros(4, np.uint8), 1, 1)
