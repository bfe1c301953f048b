"""Random chains of PyTorch functions: the interpreter is close to PyTorch, passes and ONNX keep its bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from export_tools import WIDTH, Small, load, tensor
from ir_tools import entered, trace
from onnx_tools import assert_agrees
from torch import Tensor, nn

from chimerac.compiler.build import pipeline
from chimerac.compiler.ir.interpreter import Session

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
CHAINS, LENGTH = 10, 6

#: x [T, 8] → [T, 8], continuous, so that what differs in the last bits stays near
ONE: list[Callable[[Small, Tensor], Tensor]] = [
    lambda m, x: F.relu(x),
    lambda m, x: F.gelu(x, approximate="tanh"),
    lambda m, x: F.elu(x) + F.hardswish(x),
    lambda m, x: torch.sin(3 * x) * m.vector,
    lambda m, x: F.mish(x).clamp(-1, 2),
    lambda m, x: x.softmax(-1) + x.log_softmax(-1) * 0.1,
    lambda m, x: F.layer_norm(x, (8,), m.vector) * 0.5,
    lambda m, x: F.group_norm(x, 4),
    lambda m, x: x.view(-1, 2, 4).transpose(1, 2).cumsum(1).flatten(1) * 0.2,
    lambda m, x: x.view(-1, 2, 4).permute(2, 0, 1).flip(0).permute(1, 2, 0).reshape(-1, 8),
    lambda m, x: torch.cat([x[:, 3:], x[:, :3] * 2], 1).tanh(),
    lambda m, x: x.roll(3, 1) - x.mean(-1, keepdim=True),
    lambda m, x: x.sort(-1, descending=True).values * m.vector,
    lambda m, x: (x @ m.matrix).tanh(),
    lambda m, x: F.conv1d(x.view(-1, 2, 4), m.matrix[:2, :6].reshape(2, 2, 3), padding=1).flatten(1).tanh(),
    lambda m, x: F.max_pool1d(x.view(-1, 2, 4), 3, 1, 1).flatten(1),
    lambda m, x: F.pad(F.avg_pool1d(x.view(-1, 2, 4), 2), (1, 1), value=0.5).flatten(1),
    lambda m, x: x[:, torch.tensor([7, 0, 3, 3, 1, 2, 6, 5])] / (1 + x.norm(dim=-1, keepdim=True)),
    lambda m, x: x.view(-1, 2, 4).amax(1).repeat(1, 2) * 0.5,
    lambda m, x: x.abs().clamp_min(0.1).pow(1.5).log1p(),
    lambda m, x: torch.stack([x[:, ::2], x[:, 1::2].exp().clamp_max(3)], -1).flatten(1),
]
TWO: list[Callable[[Tensor, Tensor], Tensor]] = [
    lambda a, b: a + b,
    lambda a, b: a * b.tanh(),
    lambda a, b: torch.where(a < b, a, b),
    lambda a, b: torch.maximum(a, -b) * 0.5,
    lambda a, b: torch.cat([a[:, :4], b[:, 4:]], -1),
    lambda a, b: (a.view(-1, 2, 4).tanh() @ b.view(-1, 4, 2).tanh()).flatten(1).repeat(1, 2),
    lambda a, b: a / (1 + b.square()),
]


class Chains(Small):
    """Several random chains side by side."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.table = nn.Parameter(tensor(seed, CHAINS * WIDTH, WIDTH), requires_grad=False)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        random = np.random.default_rng(self.seed)
        results = []
        for _ in range(CHAINS):
            values = [F.embedding(tokens, self.table)]
            for _ in range(LENGTH):
                x, y = (values[random.integers(len(values))] for _ in range(2))
                if random.random() < 0.3:
                    values.append(TWO[random.integers(len(TWO))](x, y))
                else:
                    values.append(ONE[random.integers(len(ONE))](self, values[-1]))
            results.append(values[-1])
        return torch.cat(results, -1)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 51))])
def test_random_chains(seed: int, tmp_path: Path) -> None:
    module = Chains(seed).eval()
    imported = load(module)
    without = sorted(pipeline.OPTIONAL)[seed % (len(pipeline.OPTIONAL) + 1) :][:1]
    lowered, _ = pipeline.run(imported, pipeline.passes(without=without))
    session = Session(entered(imported))
    tokens = np.array([3, 79, 4], np.int32)
    with torch.no_grad():
        expected = module(torch.from_numpy(tokens), torch.tensor(0, dtype=torch.int32))[-1]
    np.testing.assert_allclose(session.call("prefill", tokens), expected.numpy(), rtol=1e-4, atol=1e-4)
    assert trace(lowered) == trace(entered(imported))
    assert_agrees(lowered, tmp_path, [(1, 2, 3), (0,)])
