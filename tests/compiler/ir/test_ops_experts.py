"""Mixture of experts: routing, the sort, and the dispatch against the plain form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_tools import assert_same_bits, draw, run_op

from chimerac.compiler.ir.module import Attribute
from chimerac.compiler.ir.ops.linear import ternarise
from chimerac.compiler.ir.ops.norms import quantise_blocks
from chimerac.frontends.layers.ops import route_reference

SIZES = {"group": 8, "block": 4}


@pytest.mark.parametrize("top_k", [1, 2, 5])
def test_route_against_pytorch(top_k: int) -> None:
    x, router, bias = draw(1, 7, 12), draw(2, 5, 12), draw(3, 5, scale=0.3)
    chosen, weights = run_op("route", x, router, bias, top_k=top_k)
    tensors = [torch.from_numpy(a) for a in (x, router, bias)]
    expected_weights, expected = route_reference(tensors[0], tensors[1], tensors[2], top_k)
    np.testing.assert_array_equal(chosen, expected.numpy())
    np.testing.assert_allclose(weights, expected_weights.numpy(), rtol=1e-5)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)


def test_ties_go_to_the_lower_expert() -> None:
    x = draw(1, 3, 8)
    chosen, weights = run_op("route", x, np.zeros((6, 8), np.float32), np.zeros(6, np.float32), top_k=3)
    assert chosen.tolist() == [[0, 1, 2]] * 3
    np.testing.assert_allclose(weights, 1 / 3, rtol=1e-6)
    bias = np.array([0, 0.5, 0.25, 0.5, 0, 0.25], np.float32)
    chosen, _ = run_op("route", x, np.zeros((6, 8), np.float32), bias, top_k=4)
    assert chosen.tolist() == [[1, 3, 2, 5]] * 3


def test_the_bias_chooses_and_never_weighs() -> None:
    x, router = draw(1, 4, 8), draw(2, 3, 8)
    bias = np.array([-100, 0, 100], np.float32)
    chosen, weights = run_op("route", x, router, bias, top_k=2)
    assert chosen.tolist() == [[2, 1]] * 4
    scores = 1 / (1 + np.exp(-(x @ router.T).astype(np.float64)))
    np.testing.assert_allclose(weights[:, 0], scores[:, 2] / (scores[:, 1] + scores[:, 2]), rtol=1e-5)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_sort_pairs_is_a_stable_sort(tokens: int, top_k: int, count: int, seed: int) -> None:
    experts = np.random.default_rng(seed).integers(0, count, (tokens, top_k)).astype(np.int32)
    order, place, offsets = run_op("sort_pairs", experts, experts=count)
    flat = experts.reshape(-1).tolist()
    expected = sorted(range(len(flat)), key=lambda pair: flat[pair])
    assert order.reshape(-1).tolist() == expected
    assert [expected[p] for p in place.reshape(-1)] == list(range(len(flat)))
    assert offsets.tolist() == [sum(e < expert for e in flat) for expert in range(count + 1)]


def test_gather_and_combine_are_inverse() -> None:
    x, experts = draw(1, 5, 6), np.array([[2, 0], [0, 1], [2, 1], [1, 0], [0, 2]], np.int32)
    order, place, _ = run_op("sort_pairs", experts, experts=3)
    (rows,) = run_op("gather_rows", x, order)
    for sorted_place, pair in enumerate(order.reshape(-1)):
        assert_same_bits(rows.reshape(10, 6)[sorted_place], x[pair // 2])
    weights = np.abs(draw(2, 5, 2))
    weights /= weights.sum(-1, keepdims=True)
    np.testing.assert_allclose(run_op("combine_experts", rows, place, weights)[0], x, rtol=1e-6)
    (codes,) = run_op("gather_rows", quantise_blocks(x, 4)[0], order)
    assert codes.dtype == np.int8


def test_combine_adds_in_slot_order() -> None:
    rows = np.array([[[1e8], [1.0], [-1e8]]], np.float32)
    ones = np.ones((1, 3), np.float32)
    for place, expected in (([0, 1, 2], 0.0), ([0, 2, 1], 1.0)):
        assert run_op("combine_experts", rows, np.array([place], np.int32), ones)[0][0, 0] == expected


def test_grouped_ops_use_each_experts_own_weights() -> None:
    rows, weight = draw(1, 2, 2, 12), draw(2, 3, 5, 12)
    offsets = np.array([0, 3, 3, 4], np.int32)  # expert 1 has no rows
    codes, scales = quantise_blocks(rows, 4)
    trits, trit_scales = ternarise(weight, 8)
    sizes = {"rows": 5, "columns": 12, **SIZES}
    (got,) = run_op("grouped_ternary_matmul", codes, scales, trits, trit_scales, offsets, **sizes)
    norm = draw(3, 3, 12)
    (normed,) = run_op("grouped_rms_norm", rows, norm, offsets, eps=1e-6)
    for row, expert in enumerate([0, 0, 0, 2]):
        place = np.unravel_index(row, (2, 2))
        one = run_op(
            "ternary_matmul", codes[place][None], scales[place][None], trits[expert], trit_scales[expert], **sizes
        )
        assert_same_bits(one[0][0], got[place])
        assert_same_bits(run_op("rms_norm", rows[place][None], norm[expert], eps=1e-6)[0][0], normed[place])


#: Product of each expert's rows → that of one matrix, and its attributes.
GROUPED: dict[str, tuple[str, dict[str, Attribute]]] = {
    "grouped_linear": ("linear", {}),
    "grouped_bfloat16_linear": ("bfloat16_linear", {}),
    "grouped_float16_linear": ("float16_linear", {}),
    "grouped_ternary_linear": ("ternary_linear", dict(SIZES)),
    "grouped_int8_linear": ("int8_linear", dict(SIZES)),
}


@pytest.mark.parametrize("name", GROUPED)
def test_products_of_each_experts_rows(name: str) -> None:
    """The bits of one product after the other, and the numbers of the operation in PyTorch."""
    rows, weight = draw(1, 2, 2, 12), draw(2, 3, 5, 12)
    offsets, (alone, attributes) = np.array([0, 3, 3, 4], np.int32), GROUPED[name]
    (got,) = run_op(name, rows, weight, offsets, **attributes)
    for row, expert in enumerate([0, 0, 0, 2]):
        place = np.unravel_index(row, (2, 2))
        assert_same_bits(run_op(alone, rows[place][None], weight[expert], **attributes)[0][0], got[place])
    tensors = (torch.from_numpy(a) for a in (rows, weight, offsets))
    theirs = getattr(torch.ops.chimera, name)(*tensors, *attributes.values())
    np.testing.assert_allclose(got, theirs.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tokens", [1, 2, 7])
@pytest.mark.parametrize(("experts", "top_k"), [(1, 1), (4, 2), (3, 3)])
def test_moe_against_pytorch(tokens: int, experts: int, top_k: int) -> None:
    arrays = [
        draw(1, tokens, 12),
        draw(2, experts, 12),
        draw(3, experts, scale=0.1),
        draw(4, experts, 10, 12),
        draw(5, experts, 10, 12),
        draw(6, experts, 12, 10),
        draw(7, experts, 10),
    ]
    (got,) = run_op("moe", *arrays, top_k=top_k, eps=1e-6, **SIZES)
    expected = torch.ops.chimera.moe(*(torch.from_numpy(a) for a in arrays), top_k, 8, 4, 1e-6)
    # a hidden value on the border of two codes may go either way: a step of 1/127 of one channel
    np.testing.assert_allclose(got, expected.numpy(), atol=0.05)
    assert np.abs(got - expected.numpy()).mean() < 1e-3
    for t in range(tokens):
        alone = run_op("moe", arrays[0][t : t + 1], *arrays[1:], top_k=top_k, eps=1e-6, **SIZES)
        assert_same_bits(alone[0][0], got[t])
