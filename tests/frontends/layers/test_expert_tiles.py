"""Tiles: every pair in a tile of its expert, gathers and their gradients against plain indexing."""

from __future__ import annotations

import pytest
import torch

from chimerac.frontends.layers.expert_tiles import make_tiles


def choices(tokens: int, experts: int, top_k: int, skew: float) -> torch.Tensor:
    scores = torch.rand(tokens, experts)
    scores[:, 0] += skew
    return scores.topk(top_k, dim=1).indices


@pytest.mark.parametrize("skew", [0.0, 1.0])
@pytest.mark.parametrize(("tokens", "experts", "top_k"), [(1, 4, 2), (7, 6, 1), (300, 8, 2), (40, 3, 3)])
def test_each_expert_computes_its_pairs(tokens: int, experts: int, top_k: int, skew: float) -> None:
    chosen = choices(tokens, experts, top_k, skew)
    x = torch.randn(tokens, 5, requires_grad=True)
    weight = torch.randn(experts, 5, 3, requires_grad=True)
    upstream = torch.randn(tokens * top_k, 3)

    tiles = make_tiles(chosen, experts)
    assert tiles.counts.tolist() == torch.bincount(chosen.flatten(), minlength=experts).tolist()
    found = tiles.collect(tiles.gather(x, top_k) @ tiles.weights(weight))
    gradients = torch.autograd.grad((found * upstream).sum(), [x, weight])

    expected = (x[:, None, None] @ weight[chosen]).reshape(-1, 3)
    torch.testing.assert_close(found, expected)
    for got, wanted in zip(gradients, torch.autograd.grad((expected * upstream).sum(), [x, weight]), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_shapes_do_not_depend_on_the_routing() -> None:
    even, skewed = (make_tiles(choices(100, 8, 2, skew), 8) for skew in (0.0, 1.0))
    assert even.experts.shape == skewed.experts.shape
    assert even.pair_of_row.shape == skewed.pair_of_row.shape
    assert (even.pair_of_row < 200).sum() == (skewed.pair_of_row < 200).sum() == 200
