"""Modules that see a whole text at once, ``forward(tokens) -> logits``: called in parts they compute the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from export_tools import VOCABULARY, WIDTH, Small, load, refused, tensor
from ir_tools import entered
from torch import Tensor, nn

import chimerac
from chimerac.compiler.build import pipeline
from chimerac.compiler.ir.interpreter import Session
from chimerac.frontends.export.whole_sequence import takes_whole_sequences

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


class Positions(nn.Module):
    """A table of tokens and one of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(24, WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY)
        for parameter in self.parameters():
            parameter.requires_grad_(False).copy_(tensor(parameter.numel(), *parameter.shape))

    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> Tensor:
        places = torch.arange(0, tokens.shape[-1], device=tokens.device)
        scores: Tensor = self.head(torch.tanh(self.tokens(tokens) + self.positions(places)))
        return scores if targets is None else torch.zeros(())


class Batched(Positions):
    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> Tensor:
        batch, _ = tokens.shape
        assert batch == 1
        return super().forward(tokens)


class LastOnly(Positions):
    """Computes the head for the last token only, as nanoGPT does."""

    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> Tensor:
        _, length = tokens.shape
        x = self.tokens(tokens) + self.positions(torch.arange(length))
        scores: Tensor = self.head(x[:, [-1], :])
        return scores


class Scanned(Positions):
    """A loop over the text from a learnt state, which each of its steps uses, too, and a layer that is given zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.layer = nn.Parameter(tensor(8, WIDTH)), nn.GRU(WIDTH, WIDTH)
        self.layer.requires_grad_(False)

    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> Tensor:
        def step(held: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
            held = 0.5 * held + row * self.start
            return held, torch.tanh(held)

        _, x = chimerac.scan(step, self.start, self.tokens(tokens))
        y, _ = self.layer(x, torch.zeros(1, WIDTH))
        scores: Tensor = self.head(x + y)
        return scores


def logits(module: nn.Module, tokens: np.ndarray) -> np.ndarray:
    """What PyTorch gives for the last token of a text."""
    batched = not isinstance(module, Positions) or type(module) not in (Positions, Scanned)
    with torch.no_grad():
        given = torch.from_numpy(tokens)
        found: np.ndarray = module(given[None] if batched else given).reshape(-1, VOCABULARY)[-1].numpy()
    return found


@pytest.mark.parametrize("kind", [Positions, Batched, LastOnly, Scanned])
def test_parts_of_a_text_follow_the_whole(kind: type[Positions]) -> None:
    module = kind()
    imported = load(module)
    lowered, _ = pipeline.run(imported, pipeline.passes())
    tokens = np.random.default_rng(1).integers(0, VOCABULARY, 11).astype(np.int32)
    for session in (Session(entered(imported)), Session(lowered)):
        done = 0
        for count in (3, 1, 4, 1, 2):
            found = session.call("decode" if count == 1 else "prefill", tokens[done : done + count])
            done += count
            np.testing.assert_allclose(found, logits(module, tokens[:done]), rtol=1e-5, atol=1e-5)


class Steps(Small):
    """Has a position, and is called step by step."""

    def forward(self, tokens: Tensor, position: Tensor | None = None) -> Tensor:
        return self.logits(self.table[tokens])


def test_a_module_with_a_position_is_called_step_by_step() -> None:
    assert takes_whole_sequences(Positions())
    assert not takes_whole_sequences(Small())
    assert not takes_whole_sequences(Steps())


class Counts(Small):
    def forward(self, tokens: Tensor) -> Tensor:  # type: ignore[override]
        return self.logits(self.table[tokens] / tokens.shape[0])


def test_the_length_of_a_text_is_no_number() -> None:
    error = refused(Counts())
    assert error.code == "CHM211"
    assert error.message == "a number is computed from how long the text is, which no call of some tokens knows"
