"""Mixture of experts: routing, dispatch, load counts, and agreement with a public implementation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from chimerac.frontends.layers import moe as moe_module
from chimerac.frontends.layers import ops
from chimerac.frontends.layers.moe import MixtureOfExperts, imbalance, route, router_loads, update_router_bias
from chimerac.frontends.layers.shapes import MoeShape, QuantizationShape

SHAPE = MoeShape(layers=(0,), experts=6, shared_experts=1, experts_per_token=2, width=24)


def mixture(shape: MoeShape = SHAPE, hidden: int = 40) -> MixtureOfExperts:
    layer = MixtureOfExperts(hidden, shape, QuantizationShape(group_size=32, block_size=16), 1e-6)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(0, 0.3)
        layer.router_bias.normal_(0, 0.1)
    return layer


def test_bias_selects_and_never_weighs() -> None:
    x, router = torch.eye(3)[:1], torch.tensor([[2.0, 0, 0], [1.0, 0, 0], [-3.0, 0, 0]])
    weights, chosen = route(x, router, torch.tensor([0.0, 0.0, 5.0]), 2)
    assert chosen.tolist() == [[2, 0]]
    scores = torch.sigmoid(torch.tensor([-3.0, 2.0]))
    torch.testing.assert_close(weights[0], scores / scores.sum())


def test_ties_go_to_the_lower_expert() -> None:
    _, chosen = route(torch.zeros(1, 4), torch.randn(5, 4), torch.zeros(5), 3)
    assert chosen.tolist() == [[0, 1, 2]]


@pytest.mark.usefixtures("exact_activations")
@pytest.mark.parametrize("top_k", [1, 2, 6])
@pytest.mark.parametrize("shared", [0, 1, 2])
def test_dispatch_equals_the_step_form(top_k: int, shared: int) -> None:
    layer = mixture(MoeShape((0,), experts=6, shared_experts=shared, experts_per_token=top_k, width=24))
    x = torch.randn(2, 7, 40)
    with torch.no_grad():
        torch.testing.assert_close(layer(x).flatten(0, 1), layer.step(x.flatten(0, 1)), rtol=1e-4, atol=1e-5)
        single = layer(x[:1, :1])
        torch.testing.assert_close(single[0, 0], layer(x)[0, 0], rtol=1e-4, atol=1e-5)


def test_deepseek_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """With quantisation and the inner norm off, which DeepSeek does not have."""
    deepseek = pytest.importorskip("transformers.models.deepseek_v3.modeling_deepseek_v3")
    configuration = pytest.importorskip("transformers.models.deepseek_v3.configuration_deepseek_v3")
    config = configuration.DeepseekV3Config(
        hidden_size=40, moe_intermediate_size=24, n_routed_experts=6, num_local_experts=6, n_shared_experts=1,
        num_experts_per_tok=2, n_group=1, topk_group=1, norm_topk_prob=True, routed_scaling_factor=1.0,
        hidden_act="silu", experts_implementation="eager",
    )  # fmt: skip
    theirs, ours = deepseek.DeepseekV3MoE(config), mixture()
    assert ours.shared is not None
    with torch.no_grad():
        theirs.gate.weight.copy_(ours.router.weight)
        theirs.gate.e_score_correction_bias.copy_(ours.router_bias)
        theirs.experts.gate_up_proj.copy_(torch.cat([ours.gate_proj, ours.up_proj], 1))
        theirs.experts.down_proj.copy_(ours.down_proj)
        for name in ("gate_proj", "up_proj", "down_proj"):
            getattr(theirs.shared_experts, name).weight.copy_(getattr(ours.shared, name).weight)

    def plain(x: Tensor, *_: object) -> Tensor:
        return x

    for name in ("straight_through_activations", "straight_through_ternary", "rms_norm"):
        monkeypatch.setattr(moe_module, name, plain)
    linear, shared = torch.nn.functional.linear, ours.shared

    def plain_shared(x: Tensor) -> Tensor:
        gate, up = (linear(x, layer.weight) for layer in (shared.gate_proj, shared.up_proj))
        return linear(torch.nn.functional.silu(gate) * up, shared.down_proj.weight)

    monkeypatch.setattr(shared, "forward", plain_shared)
    x = torch.randn(3, 11, 40)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_gradients_reach_used_experts_the_router_and_the_input() -> None:
    layer = mixture()
    x = torch.randn(1, 3, 40, requires_grad=True)
    (layer(x) * torch.randn(1, 3, 40)).sum().backward()
    _, chosen = route(x.detach()[0], layer.router.weight, layer.router_bias, 2)
    used = sorted(set(chosen.flatten().tolist()))
    for parameter in (layer.gate_proj, layer.up_proj, layer.down_proj, layer.down_norm):
        assert parameter.grad is not None
        moved = [e for e in range(6) if parameter.grad[e].abs().sum() > 0]
        assert moved == used
    assert layer.router.weight.grad is not None
    assert layer.router.weight.grad.abs().sum() > 0
    assert x.grad is not None


def test_loads_are_counted_in_training_and_steer_the_bias() -> None:
    layer = mixture()
    layer.eval()
    layer(torch.randn(2, 50, 40))
    assert layer.load.sum() == 0
    layer.train()
    x = torch.randn(2, 50, 40)
    layer(x)
    layer(x)
    loads = router_loads(layer)[""]
    _, chosen = route(x.flatten(0, 1), layer.router.weight, layer.router_bias, 2)
    assert loads.tolist() == (2 * torch.bincount(chosen.flatten(), minlength=6)).tolist()
    assert imbalance(loads) == pytest.approx(loads.max().item() / (400 / 6) - 1)
    before = layer.router_bias.clone()
    update_router_bias(layer, 0.01)
    torch.testing.assert_close(layer.router_bias - before, 0.01 * torch.sign(400 / 6 - loads.float()))
    assert layer.load.sum() == 0


def test_bias_updates_balance_a_skewed_router() -> None:
    layer = mixture()
    with torch.no_grad():
        layer.router.weight[0] += 2.0  # expert 0 likes positive inputs
    x = torch.randn(4, 64, 40) + 0.3
    layer(x)
    skewed = imbalance(layer.load)
    for _ in range(300):
        update_router_bias(layer, 5e-3)
        layer(x)
    assert skewed > 0.5
    assert imbalance(layer.load) < 0.2


def test_operation_uses_the_ragged_last_group() -> None:
    experts, width, hidden = 3, 200, 72
    layer = mixture(MoeShape((0,), experts, 0, 1, width), hidden)
    x = torch.randn(5, hidden)
    y = ops.moe(
        x, layer.router.weight, layer.router_bias, layer.gate_proj, layer.up_proj, layer.down_proj, layer.down_norm,
        1, 128, 64, 1e-6,
    )  # fmt: skip
    _, chosen = route(x, layer.router.weight, layer.router_bias, 1)
    for t in range(5):
        e = int(chosen[t])
        left = ops.ternary_linear(x[t : t + 1], layer.gate_proj[e], 128, 64)
        right = ops.ternary_linear(x[t : t + 1], layer.up_proj[e], 128, 64)
        hidden_vector = ops.rms_norm(torch.nn.functional.silu(left) * right, layer.down_norm[e], 1e-6)
        expected = ops.ternary_linear(hidden_vector, layer.down_proj[e], 128, 64)
        torch.testing.assert_close(y[t], expected[0], rtol=1e-3, atol=2e-2)
