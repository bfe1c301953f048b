"""Rounding rules of weights and activations, their gradients, and the grouped product."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chimerac.frontends.layers import quantization as q


def runs(row: np.ndarray, size: int) -> list[np.ndarray]:
    return [row[start : start + size] for start in range(0, len(row), size)]


@pytest.mark.parametrize(("rows", "columns", "group"), [(3, 256, 128), (2, 200, 128), (1, 7, 128), (4, 96, 32)])
def test_ternary_codes_follow_the_definition_row_by_row(rows: int, columns: int, group: int) -> None:
    weight = torch.randn(rows, columns) * torch.logspace(-7, 1, rows)[:, None]
    codes, scales = q.ternary_codes(weight, group)
    for row, row_codes, row_scales in zip(weight.numpy(), codes.numpy(), scales.numpy(), strict=True):
        parts = runs(row, group)
        expected = [np.float32(np.float16(max(np.abs(p.astype(np.float64)).mean(), 1e-5))) for p in parts]
        assert row_scales.tolist() == expected
        trits = np.concatenate([np.clip(np.rint(p / s), -1, 1) for p, s in zip(parts, expected, strict=True)])
        assert row_codes.tolist() == trits.tolist()


@pytest.mark.parametrize(("columns", "group"), [(256, 128), (200, 128), (5, 4)])
def test_int8_codes_follow_the_definition_row_by_row(columns: int, group: int) -> None:
    weight = torch.randn(3, columns)
    weight[0, :group] = 0
    codes, scales = q.int8_codes(weight, group)
    for row, row_codes, row_scales in zip(weight.numpy(), codes.numpy(), scales.numpy(), strict=True):
        parts = runs(row, group)
        largest = [np.maximum(np.abs(p).max(), np.float32(1e-5)) for p in parts]
        expected = [np.float32(np.float16(m / np.float32(127))) for m in largest]
        assert row_scales.tolist() == expected
        values = [np.clip(np.rint(p / s), -127, 127) for p, s in zip(parts, expected, strict=True)]
        assert row_codes.tolist() == np.concatenate(values).tolist()


def test_activation_codes_reach_127_and_zero_blocks_have_a_scale() -> None:
    x = torch.tensor([[0.5, -2.0, 1.0, 0.0, 0.0, 3.0]])
    codes, scales = q.activation_codes(x, 2)
    assert codes.tolist() == [[32, -127, 127, 0, 0, 127]]  # 0.5 * 127 / 2 = 31.75
    assert scales[0].tolist() == [np.float32(v) / np.float32(127) for v in (2.0, 1.0, 3.0)]
    codes, scales = q.activation_codes(torch.zeros(1, 4), 4)
    assert codes.abs().sum() == 0
    assert scales.item() == np.float32(1e-5) / np.float32(127)


def test_rounding_is_half_to_even() -> None:
    codes, _ = q.activation_codes(torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5]]), 5)
    assert codes.tolist() == [[127, 0, 2, 2, 0]]


def test_scales_are_rounded_once_to_half_precision() -> None:
    tie = 1 + 2.0**-11  # exactly between two float16 numbers
    above = tie + 2.0**-40  # float32 would first round it to the tie, then to even
    values = torch.tensor([tie, above, 1e-5, 6.1e-5, 0.25, 65504.0], dtype=torch.float64)
    assert q.round_to_half(values).tolist() == values.numpy().astype(np.float16).astype(np.float32).tolist()
    assert q.round_to_half(values)[1] > q.round_to_half(values)[0]
    many = torch.rand(10_000, dtype=torch.float64) ** 8
    many = many.clamp(min=1e-7)
    assert torch.equal(q.round_to_half(many), torch.from_numpy(many.numpy().astype(np.float16).astype(np.float32)))


def test_one_group_per_matrix_is_the_published_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    bitnet = pytest.importorskip("transformers.integrations.bitnet")
    weight, x = torch.randn(8, 96), torch.randn(5, 96)
    with torch.compiler.set_stance("force_eager"):
        published_weight = bitnet.WeightQuant.apply(weight)
        published_x = bitnet.ActQuant.apply(x)
    codes, scales = q.ternary_codes(weight.reshape(1, -1), weight.numel())
    unrounded = weight.abs().mean()
    # our scale is a float16, theirs is not: compare the trits, and the values up to that rounding
    assert torch.equal(codes.reshape(8, 96).float(), torch.round(published_weight / unrounded))
    torch.testing.assert_close(
        q.dequantize(codes, scales, weight.numel()).view(8, 96), published_weight, rtol=5e-4, atol=0
    )
    torch.testing.assert_close(q.dequantize(*q.activation_codes(x, 96), 96), published_x, rtol=1e-6, atol=1e-6)


def test_straight_through_gradients_are_those_of_the_unquantised_product() -> None:
    weight = torch.randn(6, 200, requires_grad=True)
    x = torch.randn(4, 200, requires_grad=True)
    upstream = torch.randn(4, 6)
    weight_q, x_q = q.straight_through_ternary(weight, 128), q.straight_through_activations(x, 64)
    (torch.nn.functional.linear(x_q, weight_q) * upstream).sum().backward()
    torch.testing.assert_close(x.grad, upstream @ weight_q.detach())
    torch.testing.assert_close(weight.grad, upstream.T @ x_q.detach())


def test_sparse_gradient_stops_small_weights_only() -> None:
    weight = torch.randn(64, 128, requires_grad=True)
    q.straight_through_ternary(weight, 128, sparse_gradient=True).sum().backward()
    _, scales = q.ternary_codes(weight, 128)
    small = weight.detach().abs() < 0.3 * scales
    assert weight.grad is not None
    assert torch.equal(weight.grad, (~small).float())
    assert 0.17 < small.float().mean() < 0.21  # 18.8 % of a Gaussian


@pytest.mark.parametrize(("columns", "group", "block"), [(256, 128, 64), (200, 128, 64), (70, 128, 64), (96, 32, 32)])
def test_product_equals_the_dequantised_product(columns: int, group: int, block: int) -> None:
    x, weight = torch.randn(5, columns), torch.randn(7, columns)
    for codes, scales in (q.ternary_codes(weight, group), q.int8_codes(weight, group)):
        y = q.quantized_product(x, codes, scales, group, block)
        exact_x = q.dequantize(*q.activation_codes(x, block), block).double()
        exact_weight = codes.double() * q.dequantize(torch.ones_like(codes), scales, group).double()
        torch.testing.assert_close(y.double(), exact_x @ exact_weight.T, rtol=1e-5, atol=1e-4)


def test_frozen_weights_are_quantised_once_and_kept_apart() -> None:
    weight = torch.randn(4, 64)
    store: q.FrozenWeights = {}
    with q.frozen_weights(store):
        first = q.weight_codes(weight, 64, "ternary")
        again = q.weight_codes(weight, 64, "ternary")
        assert first[0] is again[0]
        assert q.weight_codes(weight, 64, "int8")[0].abs().max() == 127
    with torch.no_grad():
        weight *= -1
    assert torch.equal(q.weight_codes(weight, 64, "ternary")[0], -first[0])
