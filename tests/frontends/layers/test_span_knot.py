"""The span knot: an exact energy, a descent that never climbs, and a plain Gated DeltaNet without memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.families.chimera.shape import ChimeraShape
from chimerac.frontends.layers.gated_deltanet import GatedDeltaNet
from chimerac.frontends.layers.knot import (
    KnotTargets,
    bipolar,
    energy,
    flip_changes,
    normalize,
    project,
    project_back,
    random_signs,
    relax,
    walsh_hadamard,
)
from chimerac.frontends.layers.shapes import KnotShape
from chimerac.frontends.layers.span_knot import SpanKnot

SMALL = KnotShape(sketch_bits=16, flip_fraction=0.2, max_iterations=3)


def random_bits(*size: int) -> Tensor:
    return torch.randint(0, 2, size).float() * 2 - 1


def test_transform_is_the_hadamard_matrix() -> None:
    matrix = torch.ones(1, 1)
    for _ in range(5):
        matrix = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), matrix)
    x = torch.randn(3, 32)
    torch.testing.assert_close(walsh_hadamard(x), x @ matrix)


def test_projection_has_two_orthogonal_copies_and_a_transpose() -> None:
    signs = torch.stack([random_signs(64, 1, 2, copy) for copy in range(2)])
    assert not torch.equal(signs[0], signs[1])
    assert torch.equal(signs[0], random_signs(64, 1, 2, 0))
    assert not torch.equal(signs[0], random_signs(64, 1, 3, 0))
    u, z = torch.randn(5, 40), torch.randn(5, 128)
    f = project(u, signs)
    torch.testing.assert_close(f.square().sum(-1), 2 * u.square().sum(-1))
    torch.testing.assert_close((f * z).sum(-1), (u * project_back(z, signs, 40)).sum(-1))


@pytest.mark.parametrize("case", range(50))
def test_descent_is_exact_and_never_climbs(case: int) -> None:
    generator = torch.Generator().manual_seed(case)
    f = normalize(torch.randn(16, generator=generator))
    memory, binding = (torch.where(torch.randn(16, generator=generator) >= 0, 1.0, -1.0) for _ in range(2))
    targets = KnotTargets(lambda z: memory, binding)
    start = bipolar(f)
    result = relax(f, targets, SMALL)
    end = start * result.flips
    before, after = (energy(z, f, memory, binding, SMALL) for z in (start, end))
    torch.testing.assert_close(after - before, result.energy_change, rtol=0, atol=1e-6)
    assert after <= before + 1e-7
    for bit in range(16):  # the change of one flip, for every bit
        flipped = start.clone()
        flipped[bit] *= -1
        difference = energy(flipped, f, memory, binding, SMALL) - before
        torch.testing.assert_close(flip_changes(start, f, memory, binding, SMALL)[bit], difference, rtol=0, atol=1e-6)


def test_enough_flips_reach_the_lowest_of_all_states() -> None:
    """E has no products of two bits, so the descent must find the minimum over all 2^16 states."""
    f = normalize(torch.randn(16))
    f[:4] *= 0.05
    memory, binding = random_bits(16), random_bits(16)
    result = relax(f, KnotTargets(lambda z: memory, binding), replace(SMALL, flip_fraction=1.0, early_exit=0.0))
    reached = energy(bipolar(f) * result.flips, f, memory, binding, SMALL)
    states = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=16)))
    torch.testing.assert_close(reached, energy(states, f, memory, binding, SMALL).min())


def test_ties_go_to_the_lower_index_and_the_budget_holds() -> None:
    f = torch.full((16,), 0.01)
    shape = replace(SMALL, flip_fraction=0.2, max_iterations=1)
    result = relax(f, KnotTargets(lambda z: -torch.ones(16)), shape)
    assert (result.flips == -1).nonzero().flatten().tolist() == [0, 1, 2]  # floor(0.2 * 16)
    assert relax(f, KnotTargets(lambda z: -torch.ones(16)), replace(shape, max_iterations=3)).rounds == 3


def test_each_vector_stops_on_its_own_and_memory_is_asked_again() -> None:
    asked = []

    def nearest(z: Tensor) -> Tensor:
        asked.append(z)
        return -torch.ones(2, 16)

    f = torch.stack([torch.full((16,), 0.01), torch.ones(16)])  # the second one is certain of its bits
    result = relax(f, KnotTargets(nearest), SMALL)
    assert (result.flips == -1).sum(-1).tolist() == [9, 0]
    assert len(asked) == result.rounds == 3
    assert (asked[1][0] == -1).sum() == 3
    assert result.energy_change[1] == 0


def test_zero_has_a_positive_sign_and_the_gradient_is_clipped() -> None:
    f = torch.tensor([-2.0, -0.5, -0.0, 0.0, 0.5, 2.0], requires_grad=True)
    z = bipolar(f)
    assert z.tolist() == [-1, -1, 1, 1, 1, 1]
    z.sum().backward()
    assert f.grad is not None
    assert f.grad.tolist() == [0, 1, 1, 1, 1, 0]


def test_without_memory_the_layer_is_a_gated_deltanet(odd: ChimeraShape) -> None:
    shape = replace(odd, efla=False)
    knot, plain = SpanKnot(shape, 2), GatedDeltaNet(shape)
    with torch.no_grad():
        for parameter in knot.parameters():
            parameter.normal_()
    weights = {name: value for name, value in knot.state_dict().items() if name != "kappa"}
    plain.load_state_dict(weights)
    x = torch.randn(2, 9, shape.hidden)
    assert torch.equal(knot(x)[0], plain(x)[0])


def test_memory_moves_the_output_and_everything_gets_a_gradient(
    odd: ChimeraShape, make_model: Callable[[ChimeraShape], ChimeraModel]
) -> None:
    knot = make_model(odd).layers[2].mixer
    assert isinstance(knot, SpanKnot)
    x = torch.randn(1, 9, odd.hidden)
    without = knot(x)[0]
    memory = random_bits(odd.knot.sketch_bits)
    knot.targets = KnotTargets(lambda z: memory.expand_as(z))
    moved = knot(x)[0]
    assert not torch.allclose(moved, without)
    difference = (moved - without).detach()
    reached = project(difference / knot.kappa.detach(), knot.signs)
    assert (reached * memory).mean() > 0  # the correction points to the memory
    (moved * torch.randn_like(moved)).sum().backward()
    assert knot.kappa.grad is not None
    assert knot.kappa.grad.abs().sum() > 0
    y, _ = knot.step(x[0], knot.initial_state(16), torch.tensor(0), torch.tensor(1))
    torch.testing.assert_close((moved[0] - y).abs().mean().item(), 0.0, rtol=0, atol=2e-2 * moved.abs().max().item())
