"""LSTM, GRU and RNN become scans: PyTorch's numbers, whatever calls the tokens come in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from recurrent_models import VOCABULARY, RecurrentModel
from torch import Tensor, nn

from chimerac.compiler.build import pipeline
from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module
from chimerac.compiler.ir.verify import verify
from chimerac.frontends.export.importer import import_module

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
TOKENS = np.random.default_rng(7).integers(0, VOCABULARY, 200).tolist()


def lowered(module: nn.Module) -> Module:
    imported = import_module(module, name="m", block=16)
    verify(imported)
    return pipeline.run(imported, pipeline.passes())[0]


CASES: list[tuple[Callable[..., nn.RNNBase], int, dict[str, Any]]] = [
    (nn.LSTM, 1, {}),
    (nn.LSTM, 2, {"bias": False}),
    (nn.LSTM, 2, {"proj_size": 5}),
    (nn.GRU, 1, {"bias": False}),
    (nn.GRU, 2, {"dropout": 0.5}),
    (nn.RNN, 1, {}),
    (nn.RNN, 2, {"nonlinearity": "relu", "bias": False}),
]


@pytest.mark.parametrize(("kind", "layers", "how"), CASES, ids=lambda case: getattr(case, "__name__", str(case)))
def test_layers_give_pytorchs_numbers_and_blocks_those_of_single_tokens(
    kind: Callable[..., nn.RNNBase], layers: int, how: dict[str, Any]
) -> None:
    module = RecurrentModel(kind, layers, **how)
    made = lowered(module)
    assert [op.name for op in made.entry("decode").ops].count("scan") == layers
    steps, blocks = Session(made), Session(made)
    found = np.stack([steps.forward([token]) for token in TOKENS])
    with torch.no_grad():
        expected = module(torch.tensor(TOKENS), torch.tensor(0)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    for end, begin in ((7, 0), (30, 7), (200, 30)):
        assert blocks.forward(TOKENS[begin:end]).tobytes() == found[end - 1].tobytes()
    assert blocks.state_bytes() == steps.state_bytes()


class Whole(nn.Module):
    """As most people write one: a whole text, zeros to begin with."""

    def __init__(self, kind: Callable[..., nn.RNNBase], *, batched: bool, layers: int = 2, **how: Any) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.batched = batched
        self.embedding = nn.Embedding(VOCABULARY, 8)
        self.rnn = kind(8, 12, layers, batch_first=batched, **how)
        self.head = nn.Linear(12, VOCABULARY)
        self.eval().requires_grad_(False)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: [T], or [1, T] with ``batched``."""
        assert tokens.dim() == 1 + self.batched
        out, _ = self.rnn(self.embedding(tokens))
        logits: Tensor = self.head(out)
        return logits


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_layers_of_a_module_that_sees_a_whole_text_go_on(kind: Callable[..., nn.RNNBase], batched: bool) -> None:
    module = Whole(kind, batched=batched)
    names = {name for name, _ in module.named_buffers()}
    made = lowered(module)
    assert {name for name, _ in module.named_buffers()} == names
    assert "forward" not in vars(module.rnn)
    tokens = torch.tensor(TOKENS[:40])
    with torch.no_grad():
        expected = module(tokens[None])[0] if batched else module(tokens)
    steps, whole = Session(made), Session(made)
    found = np.stack([steps.forward([token]) for token in TOKENS[:40]])
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-5)
    assert whole.forward(TOKENS[:40]).tobytes() == found[-1].tobytes()


def test_what_cannot_go_on_is_refused() -> None:
    class Twice(Whole):
        def forward(self, tokens: Tensor) -> Tensor:
            x, _ = self.rnn(self.embedding(tokens))
            logits: Tensor = self.head(self.rnn(x[:, :8])[0])
            return logits

    class Several(Whole):
        def forward(self, tokens: Tensor) -> Tensor:
            x = self.embedding(tokens)
            logits: Tensor = self.head(self.rnn(torch.stack([x, x], 1))[0][:, 0])
            return logits

    class Backwards(Whole):
        def forward(self, tokens: Tensor) -> Tensor:
            x, _ = self.rnn(self.embedding(tokens))
            logits: Tensor = self.head(x[:, :12])
            return logits

    for module, message in (
        (Twice(nn.GRU, batched=False), "a GRU without an initial state is called twice"),
        (Several(nn.GRU, batched=False), "one text at a time"),
        (Backwards(nn.GRU, batched=False, bidirectional=True), "of the reverse of the tokens of a call"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            lowered(module)
        assert caught.value.code == "CHM211"
        assert "forward" not in vars(module.rnn)


def test_tracing_leaves_the_module_as_it_was() -> None:
    module = RecurrentModel(nn.LSTM, 2)
    tokens = torch.tensor(TOKENS[:9])
    before = module(tokens, torch.tensor(0))
    module.h.zero_()
    module.c.zero_()
    lowered(module)
    module.h.zero_()
    module.c.zero_()
    assert torch.equal(module(tokens, torch.tensor(0)), before)
    assert len(list(module.layers.parameters())) == 8
