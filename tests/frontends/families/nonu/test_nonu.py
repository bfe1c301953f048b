"""The Nonu model: gate, gradient, drop rate, codes, residuals and counts against closed forms, and its API."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.ops.levels import codes_of, pack, unpack, values_of
from chimerac.frontends.families.nonu.codes import rounded
from chimerac.frontends.families.nonu.family import FAMILY, tensor_specs
from chimerac.frontends.families.nonu.gate import gate, hidden, trained_hidden
from chimerac.frontends.families.nonu.layers import NonuLayer, gated_attention, linear_attention
from chimerac.frontends.families.nonu.predictor import LEAST
from chimerac.frontends.families.nonu.shape import NONU, logit
from chimerac.frontends.families.nonu.trainable import NonuTrainable
from chimerac.frontends.families.stepwise import StepSession
from chimerac.frontends.weights.sources import RandomWeights
from chimerac.models.nonu import NonuAdam, NonuConfig, NonuModel

SIZES: dict[str, Any] = {
    "hidden_size": 24,
    "num_layers": 3,
    "num_heads": 2,
    "vocab_size": 50,
    "embedding_dim": 10,
    "intermediate_size": 64,
    "max_position": 40,
}


def made(seed: int = 1, **options: Any) -> NonuModel:
    """A small model about half of whose neurons are open."""
    torch.manual_seed(seed)
    model = NonuModel(NonuConfig(**{**SIZES, **options})).eval()
    with torch.no_grad():
        for layer in model.blocks():
            edge = 0.0 if model.config.gate_on == "attention" else float(torch.as_tensor(layer.mlp.threshold()))
            layer.mlp.up.bias.copy_(edge + torch.randn(layer.mlp.up.bias.shape))
            layer.attention_norm.weight.uniform_(0.5, 1.5)
    return model


def tokens(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(4).integers(0, SIZES["vocab_size"], shape))


def gradient(tensor: torch.Tensor) -> torch.Tensor:
    assert tensor.grad is not None
    return tensor.grad


def test_the_documents_numbers() -> None:
    config = NonuConfig()
    assert config.active_threshold == 100 * NONU == pytest.approx(1e-7)
    assert config.neurons == 69_107
    assert config.matrix_params == pytest.approx(7e9, rel=1e-4)
    model = NonuModel(config, device="meta")
    assert sum(p.numel() for p in model.parameters() if p.ndim == 2) == config.matrix_params
    assert 650_000 < model.active_param_count() < 720_000  # "~700,000"
    assert model.active_param_count(include_dense=True) - model.active_param_count() == (
        config.embedding_params + 48 * 4 * 1024**2
    )
    assert logit(1e-7) == pytest.approx(-16.11809555, abs=1e-8)
    packed = config.vocab_size * config.embedding_dim * 3
    assert packed == 15_000_000


def test_gate_is_the_documents_rule_and_its_gradient_the_shifted_sigmoids() -> None:
    edge = logit(1e-7)
    z = torch.linspace(-20, -12, 1001, dtype=torch.float64, requires_grad=True)
    opened = gate(z, edge)
    assert torch.equal(opened > 0.5, torch.sigmoid(z) > 1e-7)
    opened.sum().backward()
    soft = 1 / (1 + np.exp(-(z.detach().numpy() - edge)))
    np.testing.assert_allclose(gradient(z), soft * (1 - soft), rtol=1e-12)
    assert float(gradient(z).max()) == pytest.approx(0.25, abs=1e-4)
    identity = z.detach().clone().requires_grad_()
    gate(identity, edge, "identity").sum().backward()
    assert torch.equal(gradient(identity), torch.ones_like(z))


def test_hidden_in_training_is_hidden_in_use_with_a_gradient() -> None:
    edge = logit(1e-7)
    z = (torch.randn(200, generator=torch.Generator().manual_seed(1)) * 3 + edge).requires_grad_()
    trained = trained_hidden(z, edge, "shifted")
    torch.testing.assert_close(trained, hidden(z, edge), rtol=1e-6, atol=0)
    trained.sum().backward()
    x = (z.detach().double() - edge).numpy()
    normal, density = 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))), np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    soft = 1 / (1 + np.exp(-x))
    expected = (x > 0) * (normal + x * density) + x * normal * soft * (1 - soft)
    np.testing.assert_allclose(gradient(z), expected, rtol=1e-4, atol=1e-5)


def test_all_codes_go_round() -> None:
    codes = np.arange(10_000_000, dtype=np.int32)
    values = values_of(codes, 10_000_000, 1.0)
    assert values.dtype == np.float32
    assert np.array_equal(codes_of(values, 10_000_000, 1.0), codes)
    exact = -1 + codes * (2 / 9_999_999)
    assert np.abs(values - exact).max() < 2**-25 + 1e-15  # half of float32's step below 1
    assert np.array_equal(unpack(pack(codes)), codes)
    assert pack(codes).nbytes == 30_000_000
    assert (values[0], values[-1]) == (-1, 1)


def test_rounding_to_codes_has_the_gradient_of_a_clamp() -> None:
    x = torch.tensor([-2.0, -1.0, 0.25, 0.3, 1.0, 1.5], requires_grad=True)
    found = rounded(x, 5, 1.0)
    assert found.tolist() == [-1.0, -1.0, 0.0, 0.5, 1.0, 1.0]  # halves to even
    found.sum().backward()
    assert gradient(x).tolist() == [0.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    table = np.random.default_rng(0).uniform(-1.2, 1.2, 4000).astype(np.float32)
    expected = values_of(codes_of(table, 10**7, 1.0), 10**7, 1.0)
    assert np.array_equal(rounded(torch.from_numpy(table), 10**7, 1.0).numpy(), expected)


def test_layers_are_left_out_as_often_as_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = NonuLayer(NonuConfig(**{**SIZES, "nonu_drop": 0.3}), 0).train()
    for module in (layer.attention, layer.mlp):
        monkeypatch.setattr(module, "forward", lambda x: torch.ones_like(x))
    torch.manual_seed(3)
    x, runs = torch.zeros(1, 1, 24), 4000
    left_out = sum(bool((layer(x) == 0).all()) for _ in range(runs))
    assert abs(left_out / runs - 0.3) < 4 * math.sqrt(0.3 * 0.7 / runs)
    assert not any(bool((layer.eval()(x) == 0).all()) for _ in range(100))
    drawn = torch.tensor(0.9e-7, dtype=torch.float64)  # less than float32's smallest step above 0
    monkeypatch.setattr(torch, "rand", lambda *shape, dtype: drawn)
    layer.config = NonuConfig(**SIZES)
    assert bool((layer.train()(x) == 0).all())


@pytest.mark.parametrize(("drop", "same"), [(1e-7, True), (0.1, False)])
def test_passes_are_recorded_where_layers_are_hardly_ever_left_out(drop: float, same: bool) -> None:
    assert NonuTrainable(NonuConfig(**{**SIZES, "nonu_drop": drop})).same_work() == same


@pytest.mark.parametrize("layers", [100, 10_000])
def test_residuals_compound(layers: int) -> None:
    """To 1.00001 in 100 layers and 1.001 in 10,000."""
    layer, x = NonuLayer(NonuConfig(**SIZES), 0).double(), torch.ones(3, dtype=torch.float64)
    for _ in range(layers):
        x = layer.joined(x, torch.zeros_like(x))
    expected = (1 + 1e-7) ** layers
    np.testing.assert_allclose(x.detach().numpy(), expected, rtol=1e-12)
    plain = NonuLayer(NonuConfig(**SIZES, use_multiplicative_residuals=False), 0)
    assert torch.equal(plain.joined(x, torch.zeros_like(x)), x)


def test_outputs_are_an_object_and_a_tensor() -> None:
    model, ids = made(), tokens(2, 7)
    outputs = model(ids)
    assert outputs.shape == outputs.logits.shape == (2, 7, 50)
    assert torch.equal(torch.argmax(outputs, -1), outputs.logits.argmax(-1))
    assert torch.equal(outputs[0, -1], outputs.logits[0, -1])
    assert len(outputs) == 2
    assert outputs.loss is None
    labelled = model(ids, labels=ids)
    expected = F.cross_entropy(outputs.logits[:, :-1].reshape(-1, 50), ids[:, 1:].reshape(-1))
    torch.testing.assert_close(labelled.loss, expected)


def test_active_parameters_are_counted() -> None:
    model, ids = made(), tokens(2, 9)
    expected = round(1e-4 * 64 * 3 * 2 * 24)
    assert model.active_param_count() == expected
    counts: list[float] = []
    for layer in model.blocks():
        layer.mlp.register_forward_pre_hook(
            lambda module, inputs: counts.append(
                float((torch.sigmoid(module.up(inputs[0]).double()) > 1e-7).sum(-1).double().mean())
            )
        )
    with torch.no_grad():
        model(ids)
    assert model.active_param_count() == round(sum(counts) * 2 * 24)
    assert model.active_param_count() > 0
    assert model.active_param_count(last=False) == expected
    dense = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2 and ".mlp." not in name)
    assert model.active_param_count(include_dense=True) - model.active_param_count() == dense


OPTIONS: list[dict[str, Any]] = [
    {},
    {"tie": False, "use_multiplicative_residuals": False},
    {"attention": "linear"},
    {"thresholds": (1e-7, 5e-7, 1e-3)},
    {"adaptive_precision": (1e-9, 1e-3), "ste": "identity"},
    {"gate_on": "attention", "active_threshold": 0.6},
    {"weights": "ternary"},
    {"weights": "int8", "gate_on": "attention"},
    {"predictor_rank": 8},
    {"predictor_rank": 8, "weights": "ternary"},
    {"predictor_exact": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "plain")
def test_steps_are_the_model(options: dict[str, Any]) -> None:
    model, ids = made(**options), tokens(1, 12)
    with torch.no_grad():
        expected = model(ids).logits[0].numpy()
    session = StepSession(model.export_form())
    found = np.stack([session.step(int(token)) for token in ids[0]])
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("options", [*OPTIONS, {"dynamic_threshold": True}], ids=str)
def test_all_that_is_learned_gets_a_gradient(options: dict[str, Any]) -> None:
    model, ids = made(**options).train(), tokens(2, 8)
    model(ids, labels=ids).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    assert all(float(gradient(layer.mlp.up.weight).abs().max()) > 0 for layer in model.blocks())


@pytest.mark.parametrize("weights", ["f32", "int8", "ternary"])
def test_first_biases_open_a_share(weights: str) -> None:
    sizes = {**SIZES, "hidden_size": 256, "intermediate_size": 2000}
    config = NonuConfig(**{**sizes, "weights": weights, "initial_open": 0.1})
    torch.manual_seed(5)
    model: Any = FAMILY.make(config, ternary=weights != "f32")
    RandomWeights(FAMILY, config, 0).fill(model)
    mlp = model.blocks()[0].mlp
    mlp(F.normalize(torch.randn(50, 256), dim=-1) * 16)
    assert float(torch.as_tensor(mlp.open)) / 2000 == pytest.approx(0.1, abs=0.01)


def test_training_rounds_as_kernels_do_unless_it_is_told_not_to() -> None:
    config = NonuConfig(**{**SIZES, "weights": "ternary"})
    torch.manual_seed(8)
    rounded_form, float_form = (FAMILY.make(config, ternary=ternary) for ternary in (True, False))
    plain = FAMILY.make(NonuConfig(**SIZES))
    for module in (rounded_form, float_form, plain):
        RandomWeights(FAMILY, config, 0).fill(module)
    plain.load_state_dict(float_form.state_dict())
    ids = tokens(1, 9)
    assert torch.equal(float_form(ids), plain(ids))
    assert not torch.allclose(rounded_form(ids), plain(ids), rtol=1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # thresholds are decided in float32
        near = rounded_form(ids)
    assert near.dtype == torch.float32
    torch.testing.assert_close(near, rounded_form(ids), rtol=0.1, atol=0.05)


def test_a_predictor_learns_the_gate_and_only_that() -> None:
    """Of a matrix of its rank it soon finds nearly all that is open, and chooses few others."""
    config = NonuConfig(**{**SIZES, "hidden_size": 64, "predictor_rank": 32, "intermediate_size": 200})
    torch.manual_seed(9)
    mlp = NonuModel(config).blocks()[0].mlp.train()
    assert mlp.predictor is not None
    with torch.no_grad():
        mlp.up.weight.copy_(torch.randn(200, 6) @ torch.randn(6, 64) / 6)
        mlp.up.bias.fill_(float(torch.as_tensor(mlp.threshold())) - 4)
    x = torch.randn(400, 64)
    optimiser = torch.optim.Adam(mlp.predictor.parameters(), lr=3e-2)
    for _ in range(150):
        optimiser.zero_grad()
        (mlp(x) * 0).sum().backward()
        optimiser.step()
    with torch.no_grad():
        is_open = mlp.up(x) > mlp.threshold()
        chosen = mlp.predictor(x) > LEAST
    assert 0.02 < float(is_open.float().mean()) < 0.3
    assert float((is_open & chosen).sum() / is_open.sum()) > 0.9
    assert float(chosen.float().mean()) < 0.5
    assert float(gradient(mlp.up.weight).abs().max()) == 0  # what the guess learns moves nothing else


def test_adaptive_thresholds_stay_within_their_bounds() -> None:
    model = made(adaptive_precision=(1e-9, 1e-3))
    mlp = model.blocks()[0].mlp
    for value, bound in ((-99.0, 1e-9), (9.0, 1e-3), (logit(1e-5), 1e-5)):
        assert mlp.edge is not None
        nn.init.constant_(mlp.edge, value)
        assert float(torch.as_tensor(mlp.threshold()).detach()) == pytest.approx(logit(bound), rel=1e-6)


def test_gated_attention_leaves_small_weights_out() -> None:
    """Of a query that looks at one key almost only."""
    model = made(gate_on="attention", active_threshold=0.5)
    attention = model.blocks()[0].attention
    nn.init.zeros_(attention.qkv.weight)
    with torch.no_grad():
        attention.qkv.weight[48:].copy_(torch.eye(24))  # values are the input, scores are 0: all weights are alike
        attention.out.weight.copy_(torch.eye(24))
        x = torch.randn(1, 4, 24)
        torch.testing.assert_close(attention(x)[0, -1], x[0].mean(0))
    edge = math.log(0.5)
    scores = torch.tensor([0.0, 1.0, 1.0 + edge + 1e-3, 1.0 + edge - 1e-3])  # of the last query with each key
    keys = torch.zeros(4, 12)
    keys[:, 0] = scores * math.sqrt(12)
    found = gated_attention(torch.eye(12)[:1].expand(4, 12)[None], keys[None], torch.eye(4)[None], model.config)
    expected = torch.softmax(scores, -1) * torch.tensor([0.0, 1.0, 1.0, 0.0])
    torch.testing.assert_close(found[0, -1], expected)


def test_linear_attention_is_the_sum_over_all_before() -> None:
    q, k, v = (torch.rand(1, 2, 150, 5, dtype=torch.float64) + 0.1 for _ in range(3))
    found = linear_attention(q, k, v)
    scores = (q @ k.transpose(-2, -1)).tril()
    torch.testing.assert_close(found, scores @ v / scores.sum(-1, keepdim=True))


def test_adam_is_adam() -> None:
    torch.manual_seed(2)
    ours, theirs = (nn.Parameter(torch.ones(40)) for _ in range(2))
    with pytest.warns(UserWarning, match="above the document's 1e-07"):
        one = NonuAdam([ours], lr=1e-2)
    other = torch.optim.Adam([theirs], lr=1e-2)
    for _ in range(20):
        gradient = torch.randn(40)
        for parameter, optimiser in ((ours, one), (theirs, other)):
            parameter.grad = gradient.clone()
            optimiser.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_small_steps_are_not_lost(dtype: torch.dtype) -> None:
    """1,000 steps of 1e-7 down from 4, each of which float32 rounds away."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parameter = nn.Parameter(torch.full((3,), 4.0, dtype=dtype))
        optimiser = NonuAdam([parameter])
    for _ in range(1000):
        parameter.grad = torch.ones(3, dtype=dtype)
        optimiser.step()
    state = optimiser.state[parameter]
    exact = state["master"].double() - state["lost"].double()
    torch.testing.assert_close(exact, torch.full((3,), 4 - 1e-4, dtype=torch.float64), rtol=0, atol=1e-8)
    assert torch.equal(parameter, state["master"].to(dtype))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_heads": 5}, "cannot be shared by 5 heads"),
        ({"num_heads": 8}, "no pairs"),
        ({"intermediate_size": None, "total_params": 10}, "leave no neurons"),
        ({"thresholds": (1e-7,)}, "1 thresholds for 3 layers"),
        ({"active_threshold": 0.0}, "above 0 and below 1"),
        ({"adaptive_precision": (1e-3, 1e-9)}, "ascending"),
        ({"adaptive_precision": (1e-6, 1e-3)}, "within adaptive_precision"),
        ({"nonu_drop": 2.0}, "a probability"),
        ({"embedding_levels": 1}, "3 bytes"),
        ({"gate_on": "head"}, "not one of neuron, attention"),
        ({"vocab_size": 0}, "1 or more"),
        ({"initial_open": 1.0}, "initial_open"),
        ({"predictor_rank": -1}, "0 or more"),
        ({"predictor_rank": 8, "gate_on": "attention"}, "all are"),
        ({"predictor_exact": True, "weights": "ternary"}, "weights of f32"),
        ({"gate_on": "attention", "attention": "linear"}, "no weights"),
        ({"gate_on": "attention", "dynamic_threshold": True}, "those of neurons"),
        ({"gate_on": "attention", "thresholds": (0.1, 0.1, 0.1)}, "those of neurons"),
    ],
)
def test_numbers_that_make_no_model(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        NonuConfig(**{**SIZES, **options})
    assert caught.value.code == "CHM220"


@pytest.mark.parametrize("options", [{}, {"tie": False, "dynamic_threshold": True}, {"predictor_rank": 8}], ids=str)
def test_the_table_of_tensors_is_that_of_the_module(options: dict[str, Any]) -> None:
    config = NonuConfig(**{**SIZES, **options})
    module = FAMILY.make(config)
    held = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    assert {name: spec.shape for name, spec in tensor_specs(config).items()} == held
    assert list(tensor_specs(config)) == list(held)
    for name, shape in held.items():
        parts = list(FAMILY.initial_parts(name, config, 1, 100))
        assert sum(part.size for part in parts) == math.prod(shape), name
