"""Axes that are flattened into that of the tokens: kept apart where rows stay by themselves, else refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from export_tools import WIDTH, Small, check, refused
from torch import Tensor

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
HEAD = WIDTH // 2
Rows = Callable[[Small, Tensor], Tensor]


def flattened(rows: Rows) -> Small:
    """A function of [T * 2, WIDTH / 2], the halves of each token."""

    def body(module: Small, x: Tensor, position: Tensor) -> Tensor:
        return rows(module, x.unflatten(-1, (2, HEAD)).reshape(-1, HEAD)).reshape(x.shape)

    return Small(body)


def gated_norm(module: Small, x: Tensor) -> Tensor:
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * module.vector[:HEAD] * F.silu(x)


def test_a_norm_of_rows_is_pytorchs() -> None:
    check(flattened(gated_norm))


@pytest.mark.parametrize(
    "rows",
    [
        lambda module, x: x - x.mean(0),
        lambda module, x: x.cumsum(0),
        lambda module, x: gated_norm(module, x) + x.flip(0),
        lambda module, x: x + module.matrix[:1, :HEAD] * x.sum(),
    ],
)
def test_rows_that_meet_are_refused(rows: Rows) -> None:
    assert refused(flattened(rows)).code in ("CHM211", "CHM215")
