"""The training form's products: joint ones, prepared weights, gradients, and the convolution's own derivative."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.families.chimera.shape import ChimeraShape
from chimerac.frontends.layers.conv import CausalConv, joint_convolution
from chimerac.frontends.layers.linear import GateLinear, TernaryLinear, joint_gates
from chimerac.frontends.layers.moe import MixtureOfExperts
from chimerac.frontends.layers.prepared import PreparedWeights
from chimerac.frontends.layers.products import joint_product, stacked
from chimerac.frontends.layers.quantization import straight_through_activations, straight_through_ternary
from chimerac.frontends.layers.shapes import QuantizationShape

Make = Callable[[ChimeraShape], ChimeraModel]


def layers(*outputs: int, inputs: int = 200, sparse: bool = False) -> list[TernaryLinear]:
    made = [TernaryLinear(inputs, n, QuantizationShape(group_size=128, block_size=64)) for n in outputs]
    for layer in made:
        torch.nn.init.normal_(layer.weight)
        layer.sparse_gradient = sparse
    return made


@pytest.mark.parametrize("sparse", [False, True])
def test_joint_products_have_the_values_and_gradients_of_single_ones(sparse: bool) -> None:
    linears = layers(5, 3, 8, sparse=sparse)
    x = torch.randn(2, 7, 200, requires_grad=True)
    upstream = [torch.randn(2, 7, n) for n in (5, 3, 8)]
    found = joint_product(x, linears)
    torch.stack([(y * u).sum() for y, u in zip(found, upstream, strict=True)]).sum().backward()
    gradient, x.grad = x.grad, None
    gradients = [layer.weight.grad for layer in linears]
    for layer in linears:
        layer.weight.grad = None
    expected = [
        F.linear(straight_through_activations(x, 64), straight_through_ternary(layer.weight, 128, sparse))
        for layer in linears
    ]
    torch.stack([(y * u).sum() for y, u in zip(expected, upstream, strict=True)]).sum().backward()
    for y, z, layer, weight_gradient in zip(found, expected, linears, gradients, strict=True):
        torch.testing.assert_close(y, z)
        torch.testing.assert_close(weight_gradient, layer.weight.grad)
    torch.testing.assert_close(gradient, x.grad)


def test_adjacent_matrices_are_stacked_without_a_copy() -> None:
    storage = torch.randn(10, 8)
    joined = stacked([storage[:4, :6], storage[4:7, :6]])
    assert joined.data_ptr() == storage.data_ptr()
    assert torch.equal(joined, storage[:7, :6])
    apart = stacked([storage[:4], storage[5:7]])
    assert torch.equal(apart, torch.cat([storage[:4], storage[5:7]]))


@pytest.mark.parametrize("ternary", [True, False])
def test_prepared_weights_change_no_bit(shape: ChimeraShape, make_model: Make, ternary: bool) -> None:
    model = make_model(shape)
    for module in model.modules():
        if isinstance(module, (TernaryLinear, MixtureOfExperts)):
            module.ternary = ternary
    prepared = PreparedWeights(model, torch.float32)
    tokens = torch.randint(0, shape.vocabulary, (2, 9))
    for _ in range(2):  # the second time with other weights in the same buffer
        expected = model(tokens)
        with prepared:
            found = model(tokens)
            found.sum().backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        model.zero_grad()
        model(tokens).sum().backward()
        assert torch.equal(found, expected)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, model.get_parameter(name).grad, rtol=1e-4, atol=1e-5)
        model.zero_grad()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.1)


def test_bfloat16_factors_are_summed_in_float32() -> None:
    (layer,) = layers(4, inputs=512)
    x = torch.randn(3, 512)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, layer(x), rtol=0.02, atol=0.5)


def test_joint_gates_are_the_single_ones() -> None:
    for bias in (True, False):
        gates = [GateLinear(6, 2, bias=bias), GateLinear(6, 3, bias=bias)]
        for gate in gates:
            for parameter in gate.parameters():
                torch.nn.init.normal_(parameter)
        x = torch.randn(2, 5, 6)
        torch.testing.assert_close(joint_gates(x, gates), torch.cat([gate(x) for gate in gates], dim=-1))


@pytest.mark.parametrize(("tokens", "width"), [(1, 4), (9, 4), (5, 1)])
def test_the_convolution_knows_its_derivative(tokens: int, width: int) -> None:
    convolution = CausalConv(3, width).double()
    torch.nn.init.normal_(convolution.weight)
    x = torch.randn(2, tokens, 3, dtype=torch.float64, requires_grad=True)
    tail = torch.randn(2, width - 1, 3, dtype=torch.float64, requires_grad=True)

    def outputs(x: torch.Tensor, tail: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, ...]:
        made: tuple[torch.Tensor, ...] = torch.func.functional_call(convolution, {"weight": weight}, (x, tail))
        return made

    assert torch.autograd.gradcheck(outputs, (x, tail, convolution.weight))


def test_joint_convolutions_are_the_single_ones() -> None:
    convolutions = [CausalConv(3, 4), CausalConv(2, 4)]
    for convolution in convolutions:
        torch.nn.init.normal_(convolution.weight)
    x, tails = torch.randn(2, 6, 5), [torch.randn(2, 3, 3), torch.randn(2, 3, 2)]
    y, new_tails = joint_convolution(x, convolutions, tails)
    for part, tail, convolution, old, inputs in zip(
        y.split([3, 2], -1), new_tails, convolutions, tails, x.split([3, 2], -1), strict=True
    ):
        expected, expected_tail = convolution(inputs, old)
        torch.testing.assert_close(part, expected)
        assert torch.equal(tail, expected_tail)
