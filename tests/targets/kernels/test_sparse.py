"""Kernels of products that read the rows of open neurons only, against the numpy references and against dense sums."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kernel_harness import IN_TURN, Case, case, check, check_in_turn, native_isas

from chimerac.compiler.ir.layouts import pack_scales, pack_ternary, scale_layout, ternary_layout
from chimerac.compiler.ir.ops.linear import quantise_rows, ternarise, to_bfloat16, wide
from chimerac.compiler.ir.ops.sparse import open_neurons, sparse_product
from chimerac.compiler.ir.types import TensorType

RANDOM = np.random.default_rng(77)


def hidden(n: int, neurons: int, share: float) -> np.ndarray:
    """Values of which about a share are not 0; zeros of both signs."""
    values = RANDOM.standard_normal((n, neurons)).astype(np.float32)
    shut = np.where(RANDOM.random((n, neurons)) < 0.5, np.float32(0), np.float32(-0.0))
    return np.where(RANDOM.random((n, neurons)) < share, values, shut)


def weight(neurons: int, outputs: int) -> np.ndarray:
    return RANDOM.standard_normal((neurons, outputs)).astype(np.float32)


def integers(x: np.ndarray, rows: np.ndarray, group: int, kind: str) -> Case:
    codes, scales = (ternarise if kind == "ternary" else quantise_rows)(rows, group)
    sizes = {"rows": rows.shape[0], "columns": rows.shape[1], "group": group}
    plain = case(f"{kind}_sparse_matmul", [x, codes, scales], sizes, tokens=[0])
    if kind == "int8":
        return plain
    packed, panels = pack_ternary(codes, 1), pack_scales(scales, 1)
    types = list(plain.types)
    types[1] = TensorType("u8", packed.shape, ternary_layout(1))
    types[2] = TensorType("f16", panels.shape, scale_layout(1))
    return replace(plain, types=tuple(types), packed={1: packed, 2: panels})


#: (tokens, neurons, outputs, share of them open)
SIZES = ((1, 1, 1, 1.0), (3, 31, 7, 0.5), (1, 2100, 130, 0.01), (2, 1056, 300, 0.3))
GROUPS = (128, 48, 16, 1024)


@IN_TURN
def test_every_format(every: int, tmp_path: Path) -> None:
    cases = []
    for (n, neurons, outputs, share), group in zip(SIZES, GROUPS, strict=True):
        x, rows = hidden(n, neurons, share), weight(neurons, outputs)
        cases += [case("sparse_linear", [x, w], tokens=[0]) for w in (rows, to_bfloat16(rows), rows.astype(np.float16))]
        cases += [integers(x, rows, group, kind) for kind in ("ternary", "int8")]
    check_in_turn(cases, native_isas(), tmp_path, every)


def test_what_is_not_a_number_and_what_is_small(tmp_path: Path) -> None:
    """A NaN is no zero, and neither is the smallest number."""
    x = np.zeros((3, 40), np.float32)
    x[0, 7], x[1, 9], x[1, 33], x[2, 39] = np.nan, 1e-45, np.inf, -1e-45
    cases = [case("sparse_linear", [x, weight(40, 20)], tokens=[0]), integers(x, weight(40, 20), 16, "ternary")]
    check(cases, native_isas(), tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.02, 1.0])
def test_shut_neurons_change_no_bit(share: float) -> None:
    """The reference, which skips them, is the sum over all neurons in ascending order."""
    x, rows = hidden(2, 300, share), weight(300, 50)
    codes, scales = quantise_rows(rows, 16)
    dense, rounded = np.zeros((2, 50), np.float32), np.zeros((2, 50), np.float32)
    for f in range(300):
        dense = dense + x[:, f, None] * rows[f]
        rounded = rounded + x[:, f, None] * np.repeat(wide(scales[f]), 16)[:50] * codes[f]
    assert sparse_product(x, rows).tobytes() == dense.tobytes()
    assert sparse_product(x, codes, scales, 16).tobytes() == rounded.tobytes()
    np.testing.assert_allclose(dense, x.astype(np.float64) @ rows, rtol=1e-4, atol=1e-4)
    assert open_neurons(x).tolist() == [int((row != 0).sum()) for row in x]
