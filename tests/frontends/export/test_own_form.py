"""A module whose method export_form says what is compiled of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import chimerac
from chimerac.compiler.build import pipeline
from chimerac.compiler.build.importing import model_of_module
from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.context import context_of
from chimerac.compiler.ir.interpreter import Session

WIDTH = 8


class Sums(nn.Module):
    """Trained on whole sequences, as a running sum; compiled step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(256, WIDTH), nn.Linear(WIDTH, 256)

    def forward(self, tokens: Tensor, labels: Tensor) -> Tensor:
        raise AssertionError("is not what is compiled")

    def export_form(self, context: int | None) -> nn.Module:
        return Steps(self, context or 64)


class Steps(nn.Module):
    sum: Tensor

    def __init__(self, sums: Sums, context: int) -> None:
        super().__init__()
        self.table, self.head = sums.table, sums.head
        self.places = nn.Embedding.from_pretrained(torch.zeros(context, WIDTH))
        self.register_buffer("sum", torch.zeros(WIDTH))

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        x = self.table(tokens) + self.places(position + torch.arange(tokens.shape[0]))
        total, sums = chimerac.scan(lambda a, b: (a + b, a + b), self.sum, x)
        self.sum.copy_(total)
        logits: Tensor = self.head(sums)
        return logits


@pytest.mark.parametrize(("asked", "context"), [(None, 64), (40, 40)])
def test_it_is_what_is_compiled_and_knows_the_context(asked: int | None, context: int) -> None:
    torch.manual_seed(1)
    sums = Sums()
    model = model_of_module(sums, context=asked)
    assert model.name == "sums"
    assert context_of(model.module) == context
    session, tokens = Session(pipeline.run(model.module, pipeline.passes())[0]), (3, 200, 7)
    found = [session.forward([token]) for token in tokens]
    with torch.no_grad():
        wanted = sums.head(sums.table(torch.tensor(tokens)).cumsum(0)).numpy()
    np.testing.assert_allclose(np.stack(found), wanted, rtol=1e-5, atol=1e-6)
    assert chimerac.explain(sums).compiles


def test_something_else_is_refused() -> None:
    sums = Sums()
    sums.export_form = lambda context: "steps"  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(UserError, match="export_form of Sums returns str") as error:
        model_of_module(sums)
    assert error.value.code == "CHM219"
