"""MeZO: its estimate of the gradient, what it leaves alone, and that it trains."""

from __future__ import annotations

import pytest
import torch
from chimera_weights import initialise
from torch import Tensor, nn
from training_tools import TINY

from chimerac.frontends.families.chimera.family import FAMILY
from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.families.protocol import TensorSpec, TensorTable
from chimerac.frontends.layers.linear import TernaryLinear
from chimerac.frontends.layers.quantization import ternary_codes
from chimerac.frontends.training.mezo import Mezo

TABLE = TensorTable({"x": TensorSpec((4,), "float32")}, 1)


class Quadratic(nn.Module):
    """|x - target|^2 / 2."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor([1.0, -2.0, 0.5, 3.0]))
        self.target = torch.tensor([0.5, 1.0, 0.0, 2.0])

    def loss(self) -> Tensor:
        return ((self.x.detach() - self.target) ** 2).sum() / 2


@pytest.mark.slow
def test_the_mean_of_many_steps_is_the_gradient() -> None:
    model = Quadratic()
    start = model.x.detach().clone()
    mezo = Mezo(model, TABLE, 0, 1e-3, 0.0, sparse=False)
    moved = torch.zeros(4)
    count = 1000
    for number in range(count):
        loss = mezo.step(model.loss, 1.0, number)
        moved += start - model.x.detach()
        with torch.no_grad():
            model.x.copy_(start)
    assert float(loss) == pytest.approx(float(model.loss()), rel=1e-3)
    torch.testing.assert_close(moved / count, start - model.target, rtol=0, atol=0.4)


def test_a_rate_of_zero_changes_weights_by_rounding_only() -> None:
    model = Quadratic()
    start = model.x.detach().clone()
    Mezo(model, TABLE, 0, 1e-3, 0.1, sparse=False).step(model.loss, 0.0, 0)
    torch.testing.assert_close(model.x.detach(), start, rtol=0, atol=1e-6)


def test_sparse_steps_move_no_zero_weight_but_a_twentieth() -> None:
    model = ChimeraModel(TINY)
    initialise(model, 0)
    layer = model.get_submodule("layers.0.mixer.q_proj")
    assert isinstance(layer, TernaryLinear)
    codes, _ = ternary_codes(layer.weight, layer.group)
    start = layer.weight.detach().clone()
    seen: list[Tensor] = []

    def loss() -> Tensor:
        seen.append(layer.weight.detach() - start)
        return seen[-1].sum()

    Mezo(model, FAMILY.tensors(TINY), 0, 1e-3, 0.0, sparse=True).step(loss, 1e-4, 0)
    moved = seen[0] != 0
    assert torch.equal(moved, seen[1] != 0)
    assert bool(moved[codes != 0].all())
    assert 0.02 < float(moved[codes == 0].float().mean()) < 0.09
    assert torch.equal(layer.weight.detach() != start, moved)


@pytest.mark.slow
@pytest.mark.parametrize("sparse", [False, True])
def test_it_lowers_the_loss(sparse: bool) -> None:
    model = ChimeraModel(TINY)
    initialise(model, 0)
    tokens = torch.tensor([list(b"the light is on. the door is shut.")])
    mezo = Mezo(model, FAMILY.tensors(TINY), 0, 3e-3, 0.0, sparse=sparse)

    def loss() -> Tensor:
        return nn.functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())

    losses = [float(mezo.step(loss, 3e-4, number)) for number in range(30)]
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 0.02
