"""Small PyTorch modules to import, and the comparison of what was imported with PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ir_tools import draw, entered
from torch import Tensor, nn

from chimerac.compiler.build import pipeline
from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module
from chimerac.compiler.ir.verify import verify
from chimerac.frontends.export.importer import import_module

WIDTH, VOCABULARY = 8, 10
BODY_LINE = "the line of every body"
Body = Callable[["Small", Tensor, Tensor], Tensor]


class Small(nn.Module):
    """Embedding, some function of it, head."""

    h: Tensor
    g: Tensor

    def __init__(self, body: Body | None = None, width: int = WIDTH) -> None:
        super().__init__()
        self.body = body or (lambda module, x, position: x)
        self.table = nn.Parameter(tensor(1, VOCABULARY, WIDTH), requires_grad=False)
        self.vector = nn.Parameter(tensor(2, WIDTH), requires_grad=False)
        self.matrix = nn.Parameter(tensor(8, WIDTH, WIDTH), requires_grad=False)
        self.scalar = nn.Parameter(torch.tensor(0.7), requires_grad=False)
        self.register_buffer("h", tensor(3, WIDTH))
        self.register_buffer("g", tensor(4, WIDTH))
        self.head = nn.Linear(width, VOCABULARY, bias=False).requires_grad_(False)
        self.head.weight.copy_(tensor(5, VOCABULARY, width))

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        x = F.embedding(tokens, self.table)
        return self.logits(self.body(self, x, position))  # the line of every body

    def logits(self, x: Tensor) -> Tensor:
        """x: [T, width] -> [T, vocabulary]."""
        scores: Tensor = self.head(x)
        return scores


def tensor(seed: int, *shape: int, scale: float = 1.0) -> Tensor:
    return torch.from_numpy(draw(seed, *shape, scale=scale))


def load(module: nn.Module, block: int = 4) -> Module:
    """The imported, verified module."""
    found = import_module(module.eval(), name="user", block=block)
    verify(found)
    return found


def check(module: nn.Module, calls: tuple[int, ...] = (3, 1, 2), *, tolerance: float = 1e-5) -> Module:
    """Import a module; the interpreter follows PyTorch through some calls, before and after all passes.

    Loops run once, as in PyTorch.
    """
    imported = load(module)
    lowered, _ = pipeline.run(imported, pipeline.passes())
    plain, optimised = Session(entered(imported), loops=1), Session(lowered, loops=1)
    rng = np.random.default_rng(9)
    for n in calls:
        tokens = rng.integers(0, VOCABULARY, n).astype(np.int32)
        position = torch.tensor(plain.position, dtype=torch.int32)
        with torch.no_grad():
            expected = module(torch.from_numpy(tokens), position)[-1]
        for session in (plain, optimised):
            logits = session.call("decode" if n == 1 else "prefill", tokens)
            np.testing.assert_allclose(logits, expected.numpy(), rtol=tolerance, atol=tolerance)
        assert plain.state_bytes() == optimised.state_bytes()
        for name, copies in plain.states.items():
            buffer = module.get_buffer(name).numpy()
            np.testing.assert_allclose(copies[0].reshape(buffer.shape), buffer, rtol=tolerance, atol=tolerance)
    return imported


def refused(module: nn.Module) -> UserError:
    with pytest.raises(UserError) as caught:
        import_module(module.eval(), name="user", block=4)
    return caught.value


def line_of(file: str, text: str) -> str:
    """``file:line`` of the line of a file that ends with a comment."""
    lines = Path(file).read_text().splitlines()
    (number,) = [i for i, line in enumerate(lines, 1) if line.endswith(f"  # {text}")]
    return f"{Path(file).name}:{number}"


def body_line() -> str:
    """``file:line`` where every body is called: PyTorch keeps the lines of forward methods only."""
    return line_of(__file__, BODY_LINE)
