"""Small modules as people write them: the interpreter is close to PyTorch, and native code gives its bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from export_tools import VOCABULARY, load
from ir_tools import draw
from kernel_harness import assert_same_bits, build_library, native_isas
from plain_tools import run_plain
from torch import Tensor, nn

from chimerac.compiler.build import pipeline
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module, Op
from chimerac.compiler.ir.ops import OPS
from chimerac.frontends.export.plain import import_plain
from chimerac.passes.common_subexpressions import CommonSubexpressions
from chimerac.passes.constant_folding import ConstantFolding
from chimerac.passes.dead_code import DeadCode
from chimerac.passes.fuse_elementwise import FuseElementwise
from chimerac.targets.isa import load_isa
from chimerac.targets.kernel_spec import KernelSpec

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def tensor(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(draw(seed, *shape))


class Perceptron(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 9), nn.Mish(), nn.Linear(9, 3))


class Pictures(nn.Module):
    """Convolutions, batch norms, pooling, a residual, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.deep = nn.Conv2d(8, 8, 3, padding="same", groups=8, bias=False)
        self.wide = nn.Conv2d(8, 12, 3, stride=2, dilation=2, padding=2)
        self.group = nn.GroupNorm(3, 12)
        self.head = nn.Linear(12, 5)
        self.norm.register_buffer("running_mean", tensor(1, 8))
        self.norm.register_buffer("running_var", tensor(2, 8).abs() + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.norm(self.first(x)))
        x = x + F.hardswish(self.deep(x))
        x = F.max_pool2d(x, 3, 2, padding=1, ceil_mode=True)
        x = F.leaky_relu(self.group(self.wide(x)), 0.1)
        pooled = F.adaptive_avg_pool2d(x, 1).flatten(1)
        scores: Tensor = self.head(pooled)
        return scores.log_softmax(-1)


class Sounds(nn.Module):
    """One-dimensional convolutions, as speech models have them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 8, 5, stride=2, padding=2)
        self.point = nn.Conv1d(4, 6, 1)
        self.norm = nn.InstanceNorm1d(6, affine=True)
        self.slope = nn.PReLU(6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.glu(self.conv(F.pad(x, (3, 0), mode="reflect")), dim=1)
        x = self.slope(self.norm(self.point(x)))
        return F.avg_pool1d(x, 2), x.std(-1)


class Block(nn.Module):
    """A transformer block over a fixed number of positions, causal."""

    def __init__(self, width: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 32), nn.Linear(32, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(self.before(x)).split(width, dim=-1)
        q, k, v = (y.view(batch, length, self.heads, -1).transpose(1, 2) for y in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        result: Tensor = x + self.down(F.gelu(self.up(self.between(x)), approximate="tanh"))
        return result


class Encoder(nn.Module):
    """PyTorch's own layers of attention, with a mask of missing positions."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 12, padding_idx=0)
        self.mix = nn.MultiheadAttention(12, 3, batch_first=True)
        self.head = nn.Linear(12, 2)

    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        missing = ids == 0
        x = self.words(ids) + positions(ids.shape[1], 12)
        mixed, _ = self.mix(x, x, x, key_padding_mask=missing, need_weights=False)
        kept = mixed.masked_fill(missing[..., None], 0.0)
        mean = kept.sum(1) / (~missing).sum(1, keepdim=True)
        return {
            "scores": self.head(mean),
            "best": self.head(mean).argmax(-1),
            "top": kept.abs().amax(-1).topk(2).indices,
        }


def positions(length: int, width: int) -> Tensor:
    """Sines and cosines of the places."""
    angles = torch.arange(length)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)


class Sums(nn.Module):
    """Tensor algebra: einsum, running sums, orders, choices."""

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        mixed = torch.einsum("bij,bjk->bik", a, b)
        outer = torch.einsum("bi,bj->bij", a[..., 0], b[:, 0])
        order = mixed.flatten(1).sort(descending=True)
        near = torch.where(mixed.abs() < 0.5, mixed.tril(), torch.full_like(mixed, -1.0))
        return mixed.cumsum(1), outer.logsumexp(-1), order.values[:, ::2], near, F.cosine_similarity(a, b, dim=-1)


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...]]] = {
    "perceptron": (Perceptron, (tensor(3, 4, 6),)),
    "pictures": (Pictures, (tensor(4, 2, 3, 11, 9),)),
    "sounds": (Sounds, (tensor(5, 1, 2, 23),)),
    "block": (Block, (tensor(6, 2, 7, 16),)),
    "encoder": (Encoder, (torch.tensor([[3, 7, 1, 0, 0], [5, 5, 2, 19, 4]]),)),
    "sums": (Sums, (tensor(7, 2, 5, 5), tensor(8, 2, 5, 5))),
}
RESULTS = {"encoder": ["best", "scores", "top"], "sums": ["0", "1", "2", "3", "4"], "sounds": ["0", "1"]}


@pytest.fixture(scope="module")
def imported() -> dict[str, tuple[nn.Module, Module, Module]]:
    """Each module in PyTorch, as imported, and after the passes that every build has."""
    found = {}
    torch.manual_seed(0)
    for name, (make, example) in MODULES.items():
        torch_module = make().eval()
        plain = import_plain(torch_module, example, name=name)
        assert sorted(port.name for port in plain.results) == RESULTS.get(name, ["output"])
        lowered = plain.module
        for step in (ConstantFolding(), CommonSubexpressions(), FuseElementwise(), DeadCode()):
            lowered = step.run(lowered).module
        found[name] = torch_module, plain.module, lowered
    return found


def leaves(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = [value[key] for key in value] if isinstance(value, dict) else value
    return [leaf for part in parts for leaf in leaves(part)]


@pytest.mark.parametrize("name", MODULES)
def test_modules_compute_what_pytorch_does(name: str, imported: dict[str, tuple[nn.Module, Module, Module]]) -> None:
    torch_module, module, lowered = imported[name]
    _, example = MODULES[name]
    with torch.no_grad():
        expected = leaves(torch_module(*example))
    results = run_plain(module, example)
    for want, got in zip(expected, results, strict=True):
        np.testing.assert_allclose(got.reshape(want.shape), want.numpy(), rtol=1e-5, atol=1e-5)
    for plain, optimised in zip(results, run_plain(lowered, example), strict=True):
        assert_same_bits(plain, optimised, name)


def test_native_kernels_give_the_bits_of_the_interpreter(
    imported: dict[str, tuple[nn.Module, Module, Module]], tmp_path: Path
) -> None:
    calls: list[tuple[str, KernelSpec, list[np.ndarray], list[np.ndarray]]] = []

    def see(op: Op, operands: list[np.ndarray], results: list[np.ndarray]) -> None:
        if OPS[op.name].has_kernel:
            calls.append((f"{name}: {op.location}", KernelSpec.of(op), operands, results))

    for name, (_, _, lowered) in imported.items():
        run_plain(lowered, MODULES[name][1], observe=see)
    specs = list(dict.fromkeys(spec for _, spec, _, _ in calls))
    library = build_library(specs, load_isa(native_isas()[0]), tmp_path)
    for where, spec, operands, results in calls:
        for want, got in zip(results, library.run(spec, operands, 1), strict=True):
            assert_same_bits(want, got, f"{where} {spec.op}")
    library.close()
    assert {spec.op for spec in specs} >= {"matmul", "unfold", "softmax", "layer_norm", "sort", "gather", "fused"}


class Language(nn.Module):
    """A language model of many ops, with an axis of one in front, positions in arithmetic, and a counter."""

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(VOCABULARY, 16), nn.LayerNorm(16)
        self.up, self.head = nn.Linear(16, 32), nn.Linear(16, VOCABULARY)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, tokens: Tensor, position: Tensor) -> dict[str, Tensor]:
        _, length = tokens.shape
        places = torch.arange(length) + position
        x = self.table(tokens) + torch.sin(places[:, None] * 0.1 + torch.arange(16))
        even = (places % 2 == 0) & (tokens[0] > 4)
        x = torch.where(even[None, :, None], x, x * 0.5)
        heads = x.view(1, -1, 4, 4).transpose(1, 2).softmax(-1)
        x = x + self.norm(heads.transpose(1, 2).reshape(1, -1, 16))
        x = x + F.gelu(self.up(x))[..., :16]
        self.count.copy_(position + length)
        x = x * (1 + places % 7)[:, None]
        return {"logits": self.head(x)}


def test_a_language_model_of_many_ops() -> None:
    module = Language().eval()
    session = Session(pipeline.run(load(module, block=8), pipeline.passes())[0])
    random = np.random.default_rng(4)
    for count in (3, 1, 4, 2):
        tokens = random.integers(0, VOCABULARY, count).astype(np.int32)
        with torch.no_grad():
            found = module(torch.from_numpy(tokens)[None], torch.tensor(session.position, dtype=torch.int32))
        logits = session.call("decode" if count == 1 else "prefill", tokens)
        np.testing.assert_allclose(logits, found["logits"][0, -1].numpy(), rtol=1e-5, atol=1e-5)
        assert session.states["count"][0] == session.position == module.count
