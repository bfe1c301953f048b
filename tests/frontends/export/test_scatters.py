"""Values at places that are computed: PyTorch's numbers, on every target the interpreter's bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plain_tools import as_operand
from torch import Tensor, nn

import chimerac
from chimerac.compiler.build import pipeline
from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.interpreter import Session
from chimerac.frontends.export.importer import import_module
from chimerac.frontends.export.plain import import_plain

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

RANDOM = torch.Generator().manual_seed(4)
X, Y = torch.randn(3, 8, generator=RANDOM), torch.randn(3, 5, generator=RANDOM)
IDS, MANY = torch.tensor([5, 0, 5, 7, 1]), torch.randint(0, 8, (3, 5), generator=RANDOM)
put = torch.ops.aten.index_put.default
Body = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class Call(nn.Module):
    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor, y: Tensor, ids: Tensor, many: Tensor) -> Tensor:
        return self.body(x, y, ids, many)


def assigned(place: Callable[[Tensor, Tensor], Any], value: Any) -> Body:
    """``x[…] = value``."""

    def body(x: Tensor, y: Tensor, ids: Tensor, many: Tensor) -> Tensor:
        x = x.clone()
        x[place(x, ids)] = value(x, y) if callable(value) else value
        return x

    return body


def reducing(how: str, include_self: bool) -> Body:
    return lambda x, y, ids, many: x.scatter_reduce(1, many, y, how, include_self=include_self)


CASES: dict[str, Body] = {
    "scatter": lambda x, y, ids, many: x.scatter(1, many, y),
    "scatter along the first axis": lambda x, y, ids, many: y.scatter(0, many % 3, x[:, 2:7]),
    "scatter of a number": lambda x, y, ids, many: x.scatter(-1, many, 2.5),
    "scatter of a part": lambda x, y, ids, many: x.scatter(1, many[:, :2], y),
    "scatter of integers": lambda x, y, ids, many: (x * 9).int().scatter(1, many, (y * 9).int()),
    "scatter of infinities": lambda x, y, ids, many: x.scatter(1, many, -float("inf")),
    "scatter_add": lambda x, y, ids, many: x.scatter_add(1, many, y),
    "scatter_add of integers": lambda x, y, ids, many: many.scatter_add(1, many % 5, many * 1000001),
    **{
        f"reduce {how}, {own}": reducing(how, own)
        for how in ("sum", "prod", "mean", "amax", "amin")
        for own in (True, False)
    },
    "reduce of integers": lambda x, y, ids, many: many.scatter_reduce(1, many % 4, many, "amin", include_self=False),
    "one axis": lambda x, y, ids, many: x.index_put((torch.tensor([0, -1]),), y[:2, :1]),
    "last axis": lambda x, y, ids, many: put(x, [None, ids], y),
    "two axes": lambda x, y, ids, many: x.index_put((ids % 3, ids), y[0]),
    "axes apart": lambda x, y, ids, many: put(x.view(3, 4, 2), [ids % 3, None, ids % 2], y[:, :4].mean(0)),
    "a table of places": lambda x, y, ids, many: put(x.view(3, 2, 4), [None, many % 2, many % 4], x[:, :1, None]),
    "adding": lambda x, y, ids, many: put(x, [None, ids], y, accumulate=True),
    "adding to one axis": lambda x, y, ids, many: x[0].index_put((ids,), y[1], accumulate=True),
    "adding integers": lambda x, y, ids, many: put(many, [None, ids % 5], many * 100003, accumulate=True),
    "index_add": lambda x, y, ids, many: x.index_add(1, ids, y, alpha=2),
    "index_copy": lambda x, y, ids, many: x.index_copy(1, ids, y),
    "index_fill": lambda x, y, ids, many: x.index_fill(0, ids % 2, -1.5),
    "a slice": assigned(lambda x, ids: (slice(None), slice(2, 5)), 1.0),
    "a mask": assigned(lambda x, ids: x > 0, 0.25),
    "a mask of rows": assigned(lambda x, ids: x[:, 0] > 0, lambda x, y: x[0] * 2),
    "a mask of integers": lambda x, y, ids, many: many.index_put((many > 3,), torch.tensor(-1)),
    "adding to a mask": lambda x, y, ids, many: x.index_put((x > 0,), y[0, 0], accumulate=True),
    "a column": assigned(lambda x, ids: (slice(None), ids), lambda x, y: y),
}


@pytest.mark.parametrize("name", CASES)
def test_numbers_are_pytorchs(name: str) -> None:
    module = Call(CASES[name]).eval()
    given = (X, Y, IDS, MANY)
    imported = import_plain(module, given, name="one").module
    found = []
    for without in ((), tuple(sorted(pipeline.OPTIONAL))):
        lowered, _ = pipeline.run(imported, pipeline.passes(without=without))
        found.append(Session(lowered).run("call", [as_operand(x) for x in given])[0])
    assert found[0].tobytes() == found[1].tobytes()
    theirs = module(*given).numpy()
    np.testing.assert_allclose(found[0].reshape(theirs.shape), theirs, rtol=1e-6, atol=1e-6)


class Several(nn.Module):
    """Of each kind one, in one module."""

    def forward(self, x: Tensor, y: Tensor, ids: Tensor, many: Tensor) -> dict[str, Tensor]:
        names = ("scatter", "scatter_add", "reduce prod, False", "reduce mean, True", "two axes", "adding", "a mask")
        return {name.replace(" ", "_").replace(",", ""): CASES[name](x, y, ids, many) for name in names}


def test_targets_have_the_interpreters_bits(tmp_path: Path) -> None:
    """Building each compares it with the interpreter."""
    given = (X, Y, IDS, MANY)
    report = chimerac.compile(Several(), example=given, targets=["x86_64-avx2", "wasm", "onnx"], out=tmp_path)
    results = []
    for bundle in report.bundles:
        with chimerac.load(bundle.path) as session:
            names = [port.name for port in session.manifest.entries[0].inputs]
            arrays = [value.numpy() for value in given]
            results.append(session.call(dict(zip(names, arrays, strict=True))))
    for other in results[1:]:
        assert {name: array.tobytes() for name, array in other.items()} == {
            name: array.tobytes() for name, array in results[0].items()
        }


def test_places_beyond_the_axis_are_refused_by_callers_and_write_nothing() -> None:
    imported = import_plain(Call(CASES["scatter"]).eval(), (X, Y, IDS, MANY), name="one")
    assert {port.name: port.values for port in imported.inputs}["many"] == (0, 7)
    lowered, _ = pipeline.run(imported.module, pipeline.passes())
    wild = MANY.clone()
    wild[0, :] = torch.tensor([-1, 8, 100, -100, 3])
    (found,) = Session(lowered).run("call", [as_operand(x) for x in (X, Y, IDS, wild)])
    expected = X[0].clone()
    expected[3] = Y[0, 4]
    np.testing.assert_array_equal(found[0], expected.numpy())


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (lambda x, y, ids, many: x.index_put((x > 0,), y.flatten()[:12]), "one value for all places only"),
        (lambda x, y, ids, many: x.scatter(1, many[:2], y), "as large as its operand along the other axes"),
        (lambda x, y, ids, many: many.scatter_reduce(1, many % 4, many, "mean"), "means of integers"),
    ],
)
def test_forms_that_are_refused(body: Body, why: str) -> None:
    with pytest.raises(UserError, match=why) as caught:
        import_plain(Call(body).eval(), (X, Y, IDS, MANY), name="one")
    assert caught.value.code == "CHM211"


class Speaks(nn.Module):
    """Each token writes to a row of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.table, self.head = nn.Embedding(256, 8), nn.Linear(8, 256)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens)
        x = x.scatter(-1, (tokens % 8).long()[:, None], 2.0).scatter_add(-1, x[:, :2].abs().long() % 8, x)
        found: Tensor = self.head(x)
        return found


def test_tokens_write_to_rows_of_their_own() -> None:
    module = Speaks().eval().requires_grad_(False)
    session = Session(pipeline.run(import_module(module, name="m", block=8), pipeline.passes())[0])
    tokens = [3, 250, 8, 8, 17]
    expected = module(torch.tensor(tokens))[-1].numpy()
    np.testing.assert_allclose(session.forward(tokens), expected, rtol=1e-5, atol=1e-5)
