"""Functions that are written with ops of the IR give PyTorch's numbers, and those of float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from export_tools import Small, check, refused
from ir_tools import draw
from plain_tools import as_operand
from torch import Tensor, nn

from chimerac.compiler.build import pipeline
from chimerac.compiler.ir.interpreter import Session
from chimerac.frontends.export.plain import import_plain

INF, NAN = math.inf, math.nan
EDGES = [0.0, 1.0, -1.0, 0.41421357, 0.4142135, 2.4142137, 1e-30, -1e30, 1e38, INF, -INF, NAN]


class Call(nn.Module):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *given: Tensor) -> Tensor:
        return self.function(*given)


def both(module: nn.Module, *given: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Our result and PyTorch's."""
    lowered, _ = pipeline.run(import_plain(module.eval(), given, name="one").module, pipeline.passes())
    (ours,) = Session(lowered).run("call", [as_operand(x) for x in given])
    with torch.no_grad():
        theirs = module(*given).numpy()
    return ours.reshape(theirs.shape), theirs


def test_arctan() -> None:
    x = torch.tensor([*EDGES, *np.tan(np.linspace(-1.57, 1.57, 2001))], dtype=torch.float32)
    ours, theirs = both(Call(torch.atan), x)
    np.testing.assert_allclose(ours, np.arctan(x.double().numpy()), rtol=3e-7, atol=0)
    np.testing.assert_allclose(ours, theirs, rtol=4e-7)


def test_the_angle_of_a_point() -> None:
    edges = torch.tensor(EDGES)
    y, x = torch.meshgrid(edges, edges, indexing="ij")
    ours, theirs = both(Call(torch.atan2), y, x)
    np.testing.assert_allclose(ours, theirs, rtol=5e-7, atol=1e-37)
    y, x = torch.from_numpy(draw(1, 40, 1)), torch.from_numpy(draw(2, 50))
    ours, _ = both(Call(torch.atan2), y, x)
    np.testing.assert_allclose(ours, np.arctan2(y.double().numpy(), x.double().numpy()), rtol=5e-7, atol=0)


def test_angles_of_tokens() -> None:
    """Of a language model: token by token, as everything element-wise."""
    check(Small(lambda m, x, p: torch.atan2(x, m.vector) + torch.atan(x)))


@pytest.mark.parametrize("count", [1, 2, 5, 8, 13])
@pytest.mark.parametrize("axis", [0, -1])
def test_running_products(count: int, axis: int) -> None:
    shape = (count, 3) if axis == 0 else (3, count)
    x = torch.from_numpy(draw(count, *shape))
    ours, _ = both(Call(lambda x: torch.cumprod(x, axis)), x)
    np.testing.assert_allclose(ours, np.cumprod(x.double().numpy(), axis), rtol=1e-5)


def test_running_products_of_integers_are_exact() -> None:
    x = torch.tensor([[3, -2, 5, 1, 7], [2, 0, 4, 4, 9]], dtype=torch.int32)
    ours, theirs = both(Call(lambda x: torch.cumprod(x, 1, dtype=torch.int32)), x)
    assert np.array_equal(ours, theirs)


def test_running_products_of_tokens_are_refused() -> None:
    error = refused(Small(lambda m, x, p: torch.cumprod(x, 0)))
    assert error.code == "CHM211"
    assert "aten.cumprod.default is not supported" in error.message


TRANSPOSED: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.ConvTranspose1d(3, 4, 3), (2, 3, 5)),
    (nn.ConvTranspose1d(4, 6, 4, stride=2, padding=1, groups=2), (2, 4, 5)),
    (nn.ConvTranspose1d(3, 2, 3, stride=3, padding=2, output_padding=2, dilation=2, bias=False), (3, 7)),
    (nn.ConvTranspose2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0), output_padding=(1, 0)), (1, 2, 4, 3)),
    (nn.ConvTranspose2d(4, 4, 2, stride=2, groups=4), (4, 3, 3)),
    (nn.ConvTranspose2d(2, 2, 1, padding=1), (1, 2, 4, 4)),
]


@pytest.mark.parametrize(("module", "shape"), TRANSPOSED, ids=[str(module) for module, _ in TRANSPOSED])
def test_transposed_convolutions(module: nn.Module, shape: tuple[int, ...]) -> None:
    ours, theirs = both(module, torch.from_numpy(draw(4, *shape)))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_bidirectional_layers_over_sequences_of_fixed_length(kind: Callable[..., nn.RNNBase]) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.layers = kind(5, 6, 2, bidirectional=True, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.layers(x)[0]
            return result

    ours, theirs = both(Both(), torch.from_numpy(draw(5, 2, 7, 5)))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
