"""Rows of packed matrices are those of the whole matrix, and large models compute what they would unpacked."""

from __future__ import annotations

import numpy as np
import pytest
from ir_tools import assert_same_bits
from nano_model import lowered_nano

from chimerac.compiler.ir import interpreter, layouts
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.ops import linear
from chimerac.compiler.ir.ops.linear import quantised_product
from chimerac.compiler.ir.ops.norms import quantise_blocks
from chimerac.compiler.ir.types import TensorType
from chimerac.compiler.ir.unpacking import PackedRows
from chimerac.passes.ternary_packing import TernaryPacking

RANDOM = np.random.default_rng(5)


def packed(trits: np.ndarray, scales: np.ndarray, form: str) -> tuple[PackedRows, PackedRows]:
    rows, columns = trits.shape[-2:]
    weights, panels = layouts.pack_ternary(trits, 8, form), layouts.pack_scales(scales, 8)
    weights_type = TensorType("u8", weights.shape, layouts.ternary_layout(8, form))
    scales_type = TensorType("f16", panels.shape, layouts.scale_layout(8))
    return PackedRows(weights_type, weights, rows, columns), PackedRows(scales_type, panels, rows, columns)


@pytest.mark.parametrize("form", layouts.FORMS)
@pytest.mark.parametrize("rows", [1, 8, 9, 30])
def test_any_slice_of_rows(rows: int, form: str) -> None:
    trits = RANDOM.integers(-1, 2, (rows, 200)).astype(np.int8)
    scales = RANDOM.random((rows, 2)).astype(np.float16)
    weights, weight_scales = packed(trits, scales, form)
    assert weights.shape == (rows, 200)
    for start, stop in ((0, rows), (0, rows + 50), (rows // 3, rows // 3 + 8), (rows - 1, rows)):
        np.testing.assert_array_equal(weights[start:stop], trits[start:stop])
        np.testing.assert_array_equal(weight_scales[start:stop], scales[start:stop])


@pytest.mark.parametrize("form", layouts.FORMS)
def test_experts_one_by_one(form: str) -> None:
    trits = RANDOM.integers(-1, 2, (3, 20, 64)).astype(np.int8)
    weights, scales = packed(trits, np.ones((3, 20, 1), np.float16), form)
    assert weights.shape == (3, 20, 64)
    for expert in range(3):
        np.testing.assert_array_equal(weights[expert][4:20], trits[expert, 4:])
        assert scales[expert][:5].shape == (5, 1)
    with pytest.raises(AssertionError, match="which expert"):
        weights[0:2]


@pytest.mark.parametrize("tokens", [1, 5])
def test_a_product_in_pieces_has_the_same_bits(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    trits = RANDOM.integers(-1, 2, (150, 200)).astype(np.int8)
    scales = RANDOM.random((150, 2)).astype(np.float16)
    operands = quantise_blocks(RANDOM.normal(size=(tokens, 200)).astype(np.float32), 64)
    whole = quantised_product(*operands, trits, scales, 128, 64)
    monkeypatch.setattr(linear, "_PIECE", 64 * 200)  # pieces of 64, 64 and 22 rows
    assert_same_bits(quantised_product(*operands, *packed(trits, scales, "t2"), 128, 64), whole)


@pytest.mark.parametrize(("block", "group"), [(1024, 1024), (2048, 4096)])
def test_block_sums_are_exact(block: int, group: int) -> None:
    """At 1024 channels the largest sums just fit float32; above it they need float64."""
    codes, weights = np.full((1, 4096), 127, np.int8), np.full((1, 4096), 127, np.int8)
    weights[0, 1::2] = 126
    scales, ones = np.ones((1, 4096 // block), np.float32), np.ones((1, 4096 // group), np.float16)
    total = np.float32(0)
    sums = (codes[0].astype(np.int64) * weights[0]).reshape(-1, group // block, block).sum(-1)
    for row in sums:
        part = np.float32(row[0])
        for value in row[1:]:
            part += np.float32(value)
        total += part
    assert quantised_product(codes, scales, weights, ones, group, block)[0, 0] == total


def test_a_model_too_large_to_be_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    module = TernaryPacking(8).run(lowered_nano()).module
    assert any(c.type.layout for c in module.constants.values())
    small = Session(module)
    monkeypatch.setattr(interpreter, "LARGE", 0)
    large = Session(module)
    monkeypatch.undo()
    monkeypatch.setattr(interpreter, "MOST_UNPACKED", 1)
    middle = Session(module)
    for tokens in ([1, 2, 3], [4]):
        expected = small.forward(tokens)
        assert_same_bits(large.forward(tokens), expected)
        assert_same_bits(middle.forward(tokens), expected)
    assert large.state_bytes() == middle.state_bytes() == small.state_bytes()
    assert (len(large._unpacked), len(middle._unpacked)) == (0, 1)
    assert len(small._unpacked) > 1
