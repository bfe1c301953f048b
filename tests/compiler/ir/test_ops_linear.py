"""Norms, quantisation and products against formulas in double precision, at sizes around vectors, blocks and groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_tools import assert_same_bits, draw, run_op

from chimerac.compiler.ir.ops.linear import quantise_rows, ternarise, to_bfloat16, wide
from chimerac.compiler.ir.ops.norms import quantise_blocks, quantise_row
from chimerac.compiler.ir.ops.rounded import to_float16
from chimerac.frontends.layers import ops
from chimerac.frontends.layers.quantization import activation_row_codes, weight_codes

WIDTHS = [1, 7, 8, 9, 63, 64, 65, 128, 200]
GROUP, BLOCK = 128, 64


@pytest.mark.parametrize("width", WIDTHS)
def test_rms_norm(width: int) -> None:
    x, weight = draw(1, 3, width, scale=2), draw(2, width)
    exact = x.astype(np.float64)
    truth = exact / np.sqrt((exact**2).mean(-1, keepdims=True) + 1e-5) * weight
    np.testing.assert_allclose(run_op("rms_norm", x, weight, eps=1e-5)[0], truth, rtol=1e-6)


@pytest.mark.parametrize("width", WIDTHS)
def test_l2_norm(width: int) -> None:
    x = draw(1, 2, 4, width)
    exact = x.astype(np.float64)
    truth = exact / np.sqrt((exact**2).sum(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(run_op("l2_norm", x, eps=1e-6)[0], truth, rtol=1e-6)
    assert (run_op("l2_norm", np.zeros((1, 4), np.float32), eps=1e-6)[0] == 0).all()


def test_norms_take_each_row_by_itself() -> None:
    x, weight = draw(1, 5, 3, 40), draw(2, 40)
    for name, operands, eps in (("rms_norm", (weight,), 1e-6), ("l2_norm", (), 1e-6)):
        whole = run_op(name, x, *operands, eps=eps)[0]
        for t in range(5):
            assert_same_bits(run_op(name, x[t : t + 1], *operands, eps=eps)[0], whole[t : t + 1])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 150), st.integers(1, 70), st.floats(-30, 30), st.integers(0, 2**32 - 1))
def test_activation_codes(width: int, block: int, exponent: float, seed: int) -> None:
    x = draw(seed, 2, width, scale=2.0**exponent)
    codes, scales = run_op("quantize", x, block=block)
    for start in range(0, width, block):
        part = x[:, start : start + block].astype(np.float64)
        scale = scales[:, start // block].astype(np.float64)
        code = codes[:, start : start + block].astype(np.float64)
        np.testing.assert_allclose(scale, np.maximum(np.abs(part).max(-1), 1e-5) / 127, rtol=2e-7)
        assert (np.abs(part - code * scale[:, None]) <= scale[:, None] * 0.5001).all()
        largest = np.abs(part).max(-1) >= 1e-5
        assert (np.abs(code).max(-1)[largest] == 127).all()


def test_activation_codes_at_special_values() -> None:
    codes, scales = quantise_blocks(np.zeros((1, 64), np.float32), 64)
    assert (codes == 0).all()
    assert scales[0, 0] == np.float32(1e-5) / np.float32(127)
    x = np.array([[np.nan, 1, -0.5, 0.25], [np.inf, 1, -1, -np.inf]], np.float32)
    codes, scales = quantise_blocks(x, 4)
    assert codes[0].tolist() == [-127, 127, -64, 32]  # halves go to the even neighbour
    assert scales[0, 0] == np.float32(1) / np.float32(127)
    assert np.isinf(scales[1, 0])
    assert codes[1].tolist() == [-127, 0, 0, -127]  # inf / inf is a NaN


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 150), st.integers(1, 200), st.floats(-30, 30), st.integers(0, 2**32 - 1))
def test_activation_codes_of_rows(width: int, block: int, exponent: float, seed: int) -> None:
    x = draw(seed, 2, 3, width, scale=2.0**exponent)
    codes, scales = run_op("quantize", x, block=block, row=1)
    assert scales.shape == (2, 3, -(-width // block))
    exact = x.astype(np.float64)
    scale = np.maximum(np.abs(exact).max(-1, keepdims=True), 1e-5) / 127
    np.testing.assert_allclose(scales, np.repeat(scale, scales.shape[-1], axis=-1), rtol=2e-7)
    assert (np.abs(exact - codes * scale) <= scale * 0.5001).all()
    expected, theirs = activation_row_codes(torch.from_numpy(x), block)
    assert_same_bits(codes, expected.to(torch.int8).numpy())
    assert_same_bits(scales, theirs.contiguous().numpy())


def test_activation_codes_of_rows_at_special_values() -> None:
    codes, scales = quantise_row(np.zeros((1, 64), np.float32), 64)
    assert (codes == 0).all()
    assert scales[0, 0] == np.float32(1) / (np.float32(1) / np.float32(1e-5) * np.float32(127))
    x = np.array([[np.nan, 1, -0.5, 0.25], [np.inf, 1, -1, -np.inf]], np.float32)
    codes, scales = quantise_row(x, 2)
    assert codes.tolist() == [[-127, 127, -64, 32], [-127, 0, 0, -127]]  # halves to even; inf times 0 is a NaN
    assert scales[0].tolist() == [np.float32(1) / np.float32(127)] * 2
    assert np.isinf(scales[1]).all()


@pytest.mark.parametrize("rule", [{}, {"row": 1}], ids=["blocks", "row"])
def test_rms_norm_quantize_is_both_in_turn(rule: dict[str, int]) -> None:
    x, weight = draw(1, 3, 100), draw(2, 100)
    (normed,) = run_op("rms_norm", x, weight, eps=1e-6)
    together = run_op("rms_norm_quantize", x, weight, eps=1e-6, block=BLOCK, **rule)
    for got, expected in zip(together, run_op("quantize", normed, block=BLOCK, **rule), strict=True):
        assert_same_bits(got, expected)


@pytest.mark.parametrize("width", WIDTHS)
def test_linear(width: int) -> None:
    x, weight, bias = draw(1, 3, width), draw(2, 5, width), draw(3, 5)
    truth = torch.nn.functional.linear(*(torch.from_numpy(a).double() for a in (x, weight, bias))).numpy()
    np.testing.assert_allclose(run_op("linear", x, weight, bias)[0], truth, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(run_op("linear", x, weight)[0], truth - bias, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("width", [1, 64, 127, 128, 129, 300])
@pytest.mark.parametrize("kind", ["ternary", "int8"])
def test_weight_codes_are_those_of_training(width: int, kind: Literal["ternary", "int8"]) -> None:
    weight = draw(7, 9, width, scale=0.02)
    weight[2] = 0
    split = ternarise if kind == "ternary" else quantise_rows
    codes, scales = split(weight, GROUP)
    expected_codes, expected_scales = weight_codes(torch.from_numpy(weight), GROUP, kind)
    np.testing.assert_array_equal(codes, expected_codes.numpy())
    np.testing.assert_array_equal(scales.astype(np.float32), expected_scales.float().numpy())


def test_trits_by_hand() -> None:
    codes, scales = ternarise(np.array([[2, -2, 1, 0.5, -0.5]], np.float32), 4)
    assert scales.tolist() == [[1.375, 0.5]]  # mean(2, 2, 1, .5) and mean(.5)
    assert codes.tolist() == [[1, -1, 1, 0, -1]]
    codes, scales = ternarise(np.array([[1, 0.5, 1.5, 1]], np.float32), 4)
    assert codes.tolist() == [[1, 0, 1, 1]]  # 0.5 is half way and goes to the even 0
    codes, scales = ternarise(np.zeros((1, 4), np.float32), 4)
    assert scales[0, 0] == np.float16(1e-5)
    assert not codes.any()


@pytest.mark.parametrize("size", [3e-7, 1e-5, 0.02, 1.0, 300.0])
@pytest.mark.parametrize("width", [1, 7, 8, 128, 200])
def test_what_is_ternary_already_keeps_its_trits_and_scales(width: int, size: float) -> None:
    rng = np.random.default_rng(width)
    trits = rng.choice([-1, 0, 1], (40, width), p=[0.35, 0.3, 0.35]).astype(np.int8)
    trits[:, 0] = 1  # a group of zeros has no scale of its own
    trits[:, -1] = -1
    scales = (size * rng.uniform(1, 2, (40, -(-width // GROUP)))).astype(np.float16)
    weight = trits * np.repeat(scales.astype(np.float32), GROUP, axis=1)[:, :width]
    codes, found = ternarise(weight, GROUP)
    assert_same_bits(codes, trits)
    assert_same_bits(found, scales)
    torch_codes, torch_scales = weight_codes(torch.from_numpy(weight), GROUP, "ternary")
    np.testing.assert_array_equal(torch_codes.numpy(), trits)
    np.testing.assert_array_equal(torch_scales.numpy(), scales.astype(np.float32))


@pytest.mark.parametrize("other", [np.nextafter(np.float32(0.3), np.float32(0)), 1e-30, 0.15])
def test_a_group_with_two_magnitudes_has_its_mean(other: float) -> None:
    weight = np.full((1, 128), 0.3, np.float32)
    weight[0, ::3] = 0
    weight[0, 100] = other
    mean = np.float16(max(np.abs(weight.astype(np.float64)).mean(), 1e-5))
    assert ternarise(weight, GROUP)[1].tolist() == [[mean]]
    assert weight_codes(torch.from_numpy(weight), GROUP, "ternary")[1].tolist() == [[float(mean)]]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 8, 128]), st.integers(1, 140))
def test_ternarising_twice_is_ternarising_once(seed: int, group: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    weight = (rng.standard_normal((4, width)) * rng.choice([1e-9, 1e-6, 1e-3, 1], (4, 1))).astype(np.float32)
    codes, scales = ternarise(weight, group)
    again, kept = ternarise(codes * np.repeat(scales.astype(np.float32), group, axis=1)[:, :width], group)
    assert_same_bits(again, codes)
    zero = ~np.logical_or.reduceat(codes != 0, np.arange(0, width, group), axis=1)
    assert_same_bits(np.where(zero, np.float16(0), kept), np.where(zero, np.float16(0), scales))


@pytest.mark.parametrize("width", [1, 63, 64, 65, 128, 129, 193, 320])
@pytest.mark.parametrize("op", ["ternary_matmul", "int8_matmul"])
def test_product_of_codes(op: str, width: int) -> None:
    """Against the product of the dequantised operands in double precision."""
    codes, scales = quantise_blocks(draw(1, 4, width), BLOCK)
    weights, weight_scales = (ternarise if op == "ternary_matmul" else quantise_rows)(draw(2, 6, width), GROUP)
    attributes = {"rows": 6, "columns": width, "group": GROUP, "block": BLOCK}
    (got,) = run_op(op, codes, scales, weights, weight_scales, **attributes)
    x = codes * np.repeat(scales.astype(np.float64), BLOCK, axis=1)[:, :width]
    w = weights * np.repeat(weight_scales.astype(np.float64), GROUP, axis=1)[:, :width]
    np.testing.assert_allclose(got, x @ w.T, rtol=1e-5, atol=1e-6 * np.abs(x).sum(1).max())
    for t in range(4):
        assert_same_bits(
            run_op(op, codes[t : t + 1], scales[t : t + 1], weights, weight_scales, **attributes)[0], got[t : t + 1]
        )


def test_product_adds_group_after_group() -> None:
    """The written order: y = y + s_g (a_2g acc_2g + a_2g+1 acc_2g+1), every step rounded."""
    codes, scales = quantise_blocks(draw(1, 1, 320), BLOCK)
    weights, weight_scales = ternarise(draw(2, 1, 320), GROUP)
    y = np.float32(0)
    for group in range(3):
        sums = [
            np.float32(int(codes[0, b * 64 : b * 64 + 64].astype(int) @ weights[0, b * 64 : b * 64 + 64].astype(int)))
            for b in (2 * group, 2 * group + 1)
            if b < 5
        ]
        partial = scales[0, 2 * group] * sums[0]
        if len(sums) > 1:
            partial = partial + scales[0, 2 * group + 1] * sums[1]
        y = y + weight_scales[0, group].astype(np.float32) * partial
    attributes = {"rows": 1, "columns": 320, "group": GROUP, "block": BLOCK}
    assert run_op("ternary_matmul", codes, scales, weights, weight_scales, **attributes)[0][0, 0] == y


@pytest.mark.parametrize(("op", "split"), [("ternary_linear", ternarise), ("int8_linear", quantise_rows)])
def test_quantised_linear_layers(op: str, split: object) -> None:
    x, weight = draw(1, 3, 200), draw(2, 7, 200)
    (got,) = run_op(op, x, weight, group=GROUP, block=BLOCK)
    torch_op = getattr(ops, op)
    expected = torch_op(torch.from_numpy(x), torch.from_numpy(weight), GROUP, BLOCK).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    if op == "int8_linear":  # close to the exact product, which trits are not
        np.testing.assert_allclose(got, x @ weight.T, atol=0.02 * np.sqrt(200))


def test_bfloat16_rounds_half_to_even() -> None:
    x = draw(3, 20, 50, scale=1e3)
    x[0, :6] = [0.0, -0.0, 1.00390625, 1.01171875, 3e-39, 3.4e38]  # ties to 1 and 1.015625, a subnormal, infinity
    rounded = torch.from_numpy(x).bfloat16()
    assert_same_bits(to_bfloat16(x), rounded.view(torch.int16).numpy().view(np.uint16))
    assert_same_bits(wide(to_bfloat16(x)), rounded.float().numpy())


def test_float16_rounds_half_to_even_and_is_widened_exactly() -> None:
    x = draw(3, 20, 50, scale=1e3)
    x[0, :7] = [0.0, -0.0, 1.00048828125, 1.00146484375, 3e-8, 65519.0, 65520.0]  # ties, a subnormal, the largest, more
    rounded = torch.from_numpy(x).half()
    assert_same_bits(to_float16(x), rounded.numpy())
    assert_same_bits(wide(to_float16(x)), rounded.float().numpy())


@pytest.mark.parametrize(("kind", "round_"), [("bfloat16", to_bfloat16), ("float16", to_float16)])
def test_ops_of_narrow_floats(kind: str, round_: Callable[[np.ndarray], np.ndarray]) -> None:
    x, table, ids = draw(1, 3, 50), draw(2, 9, 50), np.array([8, 0, 8], np.int32)
    rounded = wide(round_(table))
    expected = run_op("linear", x, rounded)[0]
    assert_same_bits(run_op(f"{kind}_linear", x, table)[0], expected)
    assert_same_bits(run_op("linear", x, round_(table))[0], expected)
    assert_same_bits(run_op(f"{kind}_embedding", ids, table)[0], rounded[ids])
    assert_same_bits(run_op("embedding", ids, round_(table))[0], rounded[ids])


def test_ternary_look_ups() -> None:
    ids, table = np.array([4, 0, 4], np.int32), draw(2, 5, 200)
    trits, scales = ternarise(table, GROUP)
    rows = (trits * np.repeat(scales.astype(np.float32), GROUP, axis=1)[:, :200])[ids]
    assert_same_bits(run_op("ternary_embedding", ids, table, group=GROUP)[0], rows)
    (found,) = run_op("ternary_look_up", ids, trits, scales, rows=5, columns=200, group=GROUP)
    assert_same_bits(found, rows)


def test_look_ups() -> None:
    ids, table = np.array([3, 0, 3, 9], np.int32), draw(1, 10, 200)
    assert_same_bits(run_op("embedding", ids, table)[0], table[ids])
    codes, scales = quantise_rows(table, GROUP)
    (rows,) = run_op("look_up", ids, codes, scales, group=GROUP)
    assert_same_bits(run_op("int8_embedding", ids, table, group=GROUP)[0], rows)
    step = np.repeat(np.abs(table).reshape(10, -1)[:, :GROUP].max(1), 1)[ids, None] / 127
    assert (np.abs(rows - table[ids])[:, :GROUP] <= step * 0.51).all()
    exact = codes[ids] * np.repeat(scales.astype(np.float64), GROUP, axis=1)[ids, :200]
    np.testing.assert_allclose(rows, exact, rtol=1e-7)
