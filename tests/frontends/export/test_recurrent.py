"""LSTM, GRU and RNN become scans: PyTorch's numbers, whatever calls the tokens come in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from recurrent_models import VOCABULARY, RecurrentModel
from torch import nn

from chimerac.compiler.build import pipeline
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


CASES: list[tuple[type[nn.RNNBase], int, dict[str, Any]]] = [
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
    kind: type[nn.RNNBase], layers: int, how: dict[str, Any]
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
