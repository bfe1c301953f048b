"""Modules of neurons that are open or shut: what is recognised, and that every target has the interpreter's bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from plain_tools import run_plain
from torch import Tensor, nn

import chimerac
from chimerac.compiler.verbs.explain import explain
from chimerac.compiler.verbs.inspect import inspect
from chimerac.frontends.export.plain import import_plain
from chimerac.frontends.layers import ops
from chimerac.runtime.bundle_format import ACTIVE, read_manifest
from chimerac.runtime.bundle_format.entries import drawn

WIDTH, NEURONS = 40, 300


class Written(nn.Module):
    """A gated network, its hidden vector written in one of several ways."""

    def __init__(self, way: str = "where", *, bias: bool = True) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.way = way
        self.up, self.down = nn.Linear(WIDTH, NEURONS), nn.Linear(NEURONS, WIDTH, bias=bias)
        self.other = nn.Parameter(torch.randn(NEURONS, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, WIDTH] -> [T, WIDTH]."""
        z = self.up(x)
        ways: dict[str, Callable[[], Tensor]] = {
            "where": lambda: torch.where(z > 1, F.gelu(z - 1), 0.0),
            "filled": lambda: F.gelu(z).masked_fill(z <= 1.0, 0),
            "gate": lambda: (z > 1).float() * z,
            "product": lambda: torch.where(z < 1.0, torch.zeros_like(z), z) * z.tanh(),
            "tokens": lambda: torch.where(x[:, :1] > 1, z, 0.0),
            "half": lambda: torch.where(z > 1, z, 0.5),
        }
        hidden = ways[self.way]()
        found: Tensor = hidden @ self.other if self.way == "product" else self.down(hidden)
        return found

    def example(self) -> tuple[Tensor]:
        return (torch.randn(3, WIDTH),)

    def dynamic_shapes(self) -> tuple[dict[int, torch.export.Dim]]:
        return ({0: torch.export.Dim("T", min=1, max=16)},)


@pytest.mark.parametrize(
    ("way", "found"),
    [("where", 1), ("filled", 1), ("gate", 1), ("product", 1), ("tokens", 0), ("half", 0)],
)
def test_what_is_recognised(way: str, found: int) -> None:
    module = Written(way, bias=way != "filled").eval()
    x = torch.randn(4, WIDTH) * 2
    imported = import_plain(module, (x,), name="m", dynamic_shapes=module.dynamic_shapes(), block=16).module
    assert sum(op.name == "sparse_linear" for op in imported.graphs["call"].ops) == found
    with torch.no_grad():
        np.testing.assert_allclose(run_plain(imported, [x])[0], module(x), rtol=1e-4, atol=1e-5)


def test_explain_says_that_it_fired() -> None:
    assert "reads the rows of open neurons only: 1 product of" in explain(Written()).render()
    assert "open neurons" not in explain(Written("tokens")).render()


def check_activity(module: Written, folder: Path) -> None:
    """What a manifest says of open neurons is what PyTorch finds for the same numbers; bench and inspect print it."""
    manifest = read_manifest(folder)
    (entry,) = manifest.entries
    assert manifest.call_test is not None
    calls = [(number, call.n) for number, call in enumerate(manifest.call_test.calls)]
    given = torch.cat([torch.from_numpy(drawn(entry, number, n)[0].reshape(n, WIDTH)) for number, n in calls])
    opened, rows = int((module.up(given) > 1).sum()), len(given)
    active = 2 * NEURONS * WIDTH - (rows * NEURONS - opened) * WIDTH / rows
    said = (
        f"{active:,.0f} of {2 * NEURONS * WIDTH:,} a row: {opened / rows / NEURONS:.2%} of the gated neurons are open, "
        f"in {rows} rows"
    )
    assert manifest.provenance[ACTIVE].startswith(said)
    assert f"{ACTIVE}: {said}" in inspect(folder).render()


@pytest.mark.parametrize("kind", ["f32", pytest.param("f16", marks=pytest.mark.slow), "int8", "ternary"])
def test_every_target_has_the_interpreters_bits(kind: str, tmp_path: Path) -> None:
    """A build ends with the self-test: the interpreter's results, bit for bit."""
    formats = {"down.*": kind}
    module = Written()
    targets = ["x86_64-avx2", "wasm", "onnx"]
    chimerac.compile(module, name="gated", targets=targets, out=tmp_path, weights_format=formats)
    check_activity(module, next(tmp_path.glob("*avx2")))
    found = {}
    x = (np.random.default_rng(2).standard_normal((5, WIDTH)) * 2).astype(np.float32)
    for folder in sorted(tmp_path.iterdir()):
        with chimerac.load(folder) as session:
            found[folder.name] = next(iter(session.call({"x": x}).values()))
    assert len(found) == len(targets)
    first, *others = found.values()
    assert all(other.tobytes() == first.tobytes() for other in others)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    assert np.abs(first - expected).max() < {"f32": 1e-5, "f16": 1e-3, "int8": 0.02, "ternary": 1.0}[kind]


class Called(nn.Module):
    """Products that say themselves that a hidden vector is mostly zeros, of every format."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.weight = nn.Parameter(torch.randn(NEURONS, WIDTH))

    def forward(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """hidden: [T, NEURONS] -> [T, WIDTH] of each."""
        hidden = hidden.relu()
        floats = (ops.sparse_linear, ops.bfloat16_sparse_linear, ops.float16_sparse_linear)
        integers = (ops.int8_sparse_linear, ops.ternary_sparse_linear)
        return (*(f(hidden, self.weight) for f in floats), *(f(hidden, self.weight, 16) for f in integers))


def test_custom_ops() -> None:
    module, x = Called().eval(), torch.randn(4, NEURONS)
    shapes = ({0: torch.export.Dim("T", min=1, max=16)},)
    imported = import_plain(module, (x,), name="m", dynamic_shapes=shapes, block=16).module
    with torch.no_grad():
        for found, expected in zip(run_plain(imported, [x]), module(x), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
