"""States that forward sets: who reads them before or after sees what PyTorch sees, decomposed or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from export_tools import Body, Small, check
from torch import Tensor
from torch._ops import OpOverload
from torch.export import ExportedProgram

from chimerac.compiler.errors import UserError
from chimerac.frontends.export.importer import import_module


def _sets(m: Small, x: Tensor, p: Tensor) -> Tensor:
    y = x + m.h
    m.h.copy_(m.h * 0.5 + m.vector)
    return y


def _reads_after(m: Small, x: Tensor, p: Tensor) -> Tensor:
    m.h.copy_(m.h * 0.5 + m.vector)
    return x + m.h


def _reads_around(m: Small, x: Tensor, p: Tensor) -> Tensor:
    x = x * m.h
    m.h.copy_(m.h * 0.5 + m.vector)
    x = x + m.h
    m.h.copy_(m.h * m.vector)
    return x - m.h


def _result_of_copy(m: Small, x: Tensor, p: Tensor) -> Tensor:
    return x + m.h.copy_(m.h * 0.5 + m.vector)


def _swaps(m: Small, x: Tensor, p: Tensor) -> Tensor:
    old = m.h * 1.0
    m.h.copy_(m.g + m.vector)
    m.g.copy_(old)
    return x + m.h * m.g


def _one_value_in_two(m: Small, x: Tensor, p: Tensor) -> Tensor:
    value = m.h * 0.5 + m.g
    m.h.copy_(value)
    m.g.copy_(value)
    return x + value


def _from_a_state(m: Small, x: Tensor, p: Tensor) -> Tensor:
    m.h.copy_(m.g)
    m.g.copy_(m.g * 0.5 + m.vector)
    return x + m.h


def _from_a_view_of_a_state(m: Small, x: Tensor, p: Tensor) -> Tensor:
    m.h.copy_(m.g.reshape(2, 4).reshape(8))
    m.g.copy_(m.g * 0.5 + m.vector)
    return x + m.h


def _old_view(m: Small, x: Tensor, p: Tensor) -> Tensor:
    view = m.h.reshape(2, 4)
    m.h.copy_(m.h * 0.5 + m.vector)
    return x + view.reshape(8)


def _adds_in_place(m: Small, x: Tensor, p: Tensor) -> Tensor:
    m.h.add_(m.vector)
    return x + m.h


def _changes_an_activation(m: Small, x: Tensor, p: Tensor) -> Tensor:
    x = x * 2.0
    x.mul_(m.vector)
    return x


def _from_a_parameter(m: Small, x: Tensor, p: Tensor) -> Tensor:
    y = x + m.h
    m.h.copy_(m.vector)
    return y


@pytest.mark.parametrize(
    ("body", "decomposed"),
    [
        *((body, False) for body in (_sets, _reads_after, _result_of_copy, _swaps, _one_value_in_two)),
        *((body, True) for body in (_from_a_state, _from_a_view_of_a_state, _old_view, _adds_in_place)),
        *((body, True) for body in (_changes_an_activation, _from_a_parameter, _reads_around)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_states_hold_what_pytorch_holds(body: Body, decomposed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    decompose = ExportedProgram.run_decompositions

    def counted(program: ExportedProgram, table: dict[OpOverload, Callable[..., Any]]) -> ExportedProgram:
        calls.append(program)
        made: ExportedProgram = decompose(program, table)
        return made

    monkeypatch.setattr(ExportedProgram, "run_decompositions", counted)
    with torch.no_grad():
        check(Small(body), (3, 1, 2, 1))
    assert bool(calls) == decomposed


def test_a_parameter_that_forward_changes_is_refused() -> None:
    class Grows(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = torch.nn.Embedding(300, 8), torch.nn.Linear(8, 300)

        def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
            self.head.weight.add_(1.0)
            result: Tensor = self.head(self.embedding(tokens))
            return result

    with pytest.raises(UserError, match=r"the parameter head\.weight") as caught:
        import_module(Grows().eval(), name="grows", block=4)
    assert caught.value.code == "CHM213"
