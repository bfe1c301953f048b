"""Texts are no longer than tables of positions: PyTorch refuses a place beyond them, and so does what is compiled."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.compiler.build import pipeline
from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.context import context_of
from chimerac.compiler.ir.interpreter import Session
from chimerac.frontends.export.importer import import_module

PLACES = 24


class Counted(nn.Module):
    """A recurrence over tokens and their places, in one of several writings."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.table, self.places, self.lstm = nn.Embedding(256, 16), nn.Embedding(PLACES, 16), nn.LSTM(16, 16)
        self.head = nn.Linear(16, 256)

    def forward(self, tokens: Tensor) -> Tensor:
        at = torch.arange(tokens.shape[0])
        match self.kind:
            case "table":
                place = self.places(at)
            case "rows":
                place = self.places.weight[: tokens.shape[0]]
            case "shifted":
                place = self.places(at + 3)
            case "last":
                place = self.places(at.clamp(max=PLACES - 1))
            case _:
                place = self.places(at % PLACES)
        x, _ = self.lstm(self.table(tokens) + place)
        logits: Tensor = self.head(x)
        return logits


@pytest.mark.parametrize(
    ("kind", "context"), [("table", PLACES), ("rows", PLACES), ("shifted", PLACES - 3), ("last", 0), ("again", 0)]
)
def test_the_context_is_that_of_the_table(kind: str, context: int) -> None:
    module = Counted(kind).eval().requires_grad_(False)
    made = import_module(module, name="m", block=8)
    assert context_of(made) == context
    tokens = [7 * i % 256 for i in range(context or 40)]
    lowered = pipeline.run(made, pipeline.passes())[0]
    assert context_of(lowered) == context
    session = Session(lowered)
    found = torch.stack([torch.from_numpy(session.forward([token]).copy()) for token in tokens])
    torch.testing.assert_close(found, module(torch.tensor(tokens)), rtol=1e-4, atol=1e-4)
    if context:
        with pytest.raises(IndexError if kind != "rows" else RuntimeError):
            module(torch.zeros(context + 1, dtype=torch.int64))


class Dropping(nn.Module):
    """Drops in eval mode, too."""

    def __init__(self, attention: bool) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(256, 16), nn.Linear(16, 256)
        self.attention = attention

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens)
        if self.attention:
            x = F.scaled_dot_product_attention(x[None], x[None], x[None], dropout_p=0.1, is_causal=True)[0]
        else:
            x = F.dropout(x, 0.5, training=True)
        logits: Tensor = self.head(x)
        return logits


@pytest.mark.parametrize("attention", [False, True])
def test_what_draws_numbers_is_refused(attention: bool) -> None:
    with pytest.raises(UserError) as caught:
        import_module(
            Dropping(attention).eval().requires_grad_(False), name="m", block=8, context=32 if attention else None
        )
    assert caught.value.code in ("CHM211", "CHM224")
