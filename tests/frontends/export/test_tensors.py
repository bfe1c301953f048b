"""Tensors of modules that no bundle can have: each is one error, and nothing of PyTorch is on the error stream."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import chimerac
from chimerac.compiler.errors import UserError
from chimerac.frontends.export.importer import import_module

WIDTH, VOCABULARY = 8, 300


class Model(nn.Module):
    """A state [8] that is the last token's sum with the one before it; ``change`` makes its tensors others."""

    state: Tensor
    view: Tensor

    def __init__(self, change: Callable[[Model], Any]) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(WIDTH, VOCABULARY)
        both = torch.zeros(WIDTH, 2)
        self.register_buffer("state", both[:, 0])
        self.register_buffer("view", both[:, 1])  # between one another, in one memory
        change(self)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        x: Tensor = self.embedding(tokens) + self.view.reshape(-1)[:WIDTH]
        self.state.copy_(x[-1])
        logits: Tensor = self.head(x)
        return logits


def with_number(number: float) -> Callable[[Model], Any]:
    def change(model: Model) -> None:
        with torch.no_grad():
            model.embedding.weight[7, 1] = number

    return change


def with_buffer(name: str, tensor: Callable[[Model], Tensor]) -> Callable[[Model], Any]:
    return lambda model: model.register_buffer(name, tensor(model))


REFUSED: dict[str, tuple[Callable[[Model], Any], str, str]] = {
    "a view of the state": (
        with_buffer("view", lambda m: m.state.unflatten(0, (2, 4))),
        "CHM213",
        "overwrites state, which shares",
    ),
    "a part of a weight": (
        with_buffer("state", lambda m: m.embedding.weight.detach()[2]),
        "CHM213",
        "shares the memory of embedding.weight",
    ),
    "NaN": (with_number(float("nan")), "CHM242", "embedding.weight holds NaN"),
    "infinity": (with_number(float("-inf")), "CHM242", "embedding.weight holds NaN or infinity"),
    "meta": (lambda m: m.head.to("meta"), "CHM216", "head.weight has no numbers"),
    "expanded": (with_buffer("view", lambda m: torch.ones(1).expand(1 << 40)), "CHM216", "1,099,511,627,776 numbers"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_tensors_that_no_bundle_has_are_refused(what: str) -> None:
    change, code, message = REFUSED[what]
    with pytest.raises(UserError, match=message) as error:
        import_module(Model(change).eval(), name="m", block=16)
    assert error.value.code == code


@pytest.mark.parametrize(
    "change",
    [
        lambda m: None,  # two buffers in one memory, none of whose numbers is in both
        with_buffer("view", lambda m: m.state),  # one tensor of two names
        lambda m: m.half(),
    ],
    ids=["apart", "one tensor", "float16"],
)
def test_others_are_not(change: Callable[[Model], Any]) -> None:
    assert import_module(Model(change).eval(), name="m", block=16).states


@pytest.mark.parametrize(
    ("given", "message"),
    [(3, "of type int"), (None, "NoneType"), (Model, "Model is a class"), (nn.Module(), "Module has no forward")],
)
def test_what_is_no_module_is_refused(given: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as error:
        chimerac.compile(given, targets=["onnx"], out=tmp_path)
    assert error.value.code == "CHM219"


class Branches(Model):
    """Its path depends on what the tokens are."""

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        x: Tensor = self.head(self.embedding(tokens))
        return x if x.sum() > 0 else -x


def test_a_trace_that_fails_is_one_error(capfd: pytest.CaptureFixture[str]) -> None:
    """PyTorch writes the graph up to that place to the error stream, and warnings."""
    with pytest.raises(UserError, match="a Python value is computed from data"):
        import_module(Branches(lambda m: None).eval(), name="m", block=16)
    assert capfd.readouterr() == ("", "")
