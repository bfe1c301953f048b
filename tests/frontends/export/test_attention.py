"""Attention in the forms that people write becomes one op with a cache; what has no such form is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from attention_modules import CONTEXT, HEADS, STEPPED, WHOLE, WIDTH, Attend, Stepped, Whole, ages, filled, flash
from torch import Tensor, nn

import chimerac
from chimerac.compiler.build import pipeline
from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.context import context_of
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module, Op, walk
from chimerac.frontends.export.importer import import_module

TOKENS = np.random.default_rng(8).integers(0, 256, 40)
BLOCK = 16


def imported(module: nn.Module, context: int | None = None, block: int = BLOCK) -> Module:
    return import_module(module.eval().requires_grad_(False), name="m", block=block, context=context)


def attentions(module: Module) -> list[Op]:
    return [op for op in walk(module.entry("main").ops) if op.name == "cached_attention"]


def logits(module: nn.Module) -> np.ndarray:
    """PyTorch's, of each token."""
    tokens = torch.from_numpy(TOKENS)
    with torch.no_grad():
        if not isinstance(module, Stepped):
            return np.asarray(module(tokens[None])[0])
        steps = [module(tokens[i : i + 1].int(), torch.tensor(i, dtype=torch.int32)) for i in range(len(tokens))]
        return np.asarray(torch.cat(steps))


def check(module: nn.Module, made: Module) -> None:
    """The interpreter's logits are PyTorch's, and those of blocks the same as those of single tokens."""
    lowered = pipeline.run(made, pipeline.passes())[0]
    single, blocks = Session(lowered), Session(lowered)
    found = np.stack([single.forward([token]) for token in TOKENS.tolist()])
    np.testing.assert_allclose(found, logits(module), rtol=1e-4, atol=1e-5)
    assert blocks.forward(TOKENS.tolist()).tobytes() == found[-1].tobytes()
    assert blocks.state_bytes() == single.state_bytes()


def some(names: Iterable[str], *quick: str) -> pytest.MarkDecorator:
    """Each name is a test, those that are not quick a slow one."""
    marked = [pytest.param(n, marks=() if n in quick else pytest.mark.slow) for n in names]
    return pytest.mark.parametrize("name", marked)


@some(WHOLE, "filled", "window", "parameter", "expanded")
def test_whole_texts(name: str) -> None:
    module = WHOLE[name]()
    made = imported(module, 50 if getattr(module, "places", True) is None else None)
    for op in attentions(made):
        heads = {"grouped": 2, "interleaved": 2, "expanded": 1}.get(name, HEADS)
        window = 11 if name == "window" else 0
        rows = window + BLOCK - 1 if window else 50 if heads < HEADS else CONTEXT
        assert (op.integer("window"), op.operands[3].type.shape) == (window, (heads, rows, WIDTH))
    assert len(attentions(made)) == (2 if name == "TransformerEncoder" else 1)
    assert context_of(made) == (CONTEXT if name == "window" else rows)  # that has a table of positions
    check(module, made)


@some(STEPPED, "rows", "grouped", "window")
def test_modules_with_caches_of_their_own(name: str) -> None:
    module = STEPPED[name]()
    made = imported(module)
    (op,) = attentions(made)
    assert op.integer("window") == (9 if name == "window" else 0)
    assert set(made.states) == {"key_cache", "value_cache"}, "the module's own buffers are no states any more"
    assert {op.operands[i].type.shape for i in (3, 4)} == {(2 if name == "grouped" else HEADS, CONTEXT, WIDTH)}
    check(module, made)


def test_a_context_may_be_smaller_than_the_table_of_positions() -> None:
    assert context_of(imported(Whole(flash), 20)) == 20


def biased(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """ALiBi: further tokens weigh less."""
    slopes = torch.tensor([0.5, 0.25, 0.125, 0.0625])[:, None, None]
    bias = -slopes * ages(q.shape[2]).clamp(min=0) + torch.where(ages(q.shape[2]) >= 0, 0.0, -math.inf)
    return F.softmax(q @ k.transpose(-2, -1) + bias, -1) @ v


def capped(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.tanh(q @ k.transpose(-2, -1)).masked_fill(ages(q.shape[2]) < 0, -math.inf)
    return F.softmax(scores, -1) @ v


def masked_by(seen: Callable[[Tensor], Tensor]) -> Attend:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = (q @ k.transpose(-2, -1)).masked_fill(~seen(ages(q.shape[2])), -math.inf)
        return F.softmax(scores, -1) @ v

    return attend


def by_length(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    factor = 1 + torch.arange(q.shape[2]).max().float()
    scores = (q @ k.transpose(-2, -1) * factor).masked_fill(ages(q.shape[2]) < 0, -math.inf)
    return F.softmax(scores, -1) @ v


REFUSED: dict[str, tuple[Attend, str]] = {
    "both ways": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v), "attention to later tokens"),
    "one ahead": (masked_by(lambda age: age >= -1), "attention to later tokens"),
    "not itself": (masked_by(lambda age: age >= 1), "does not see itself"),
    "every other": (masked_by(lambda age: (age >= 0) & (age % 2 == 0)), "attention that skips tokens"),
    "bias": (biased, "differs by head, or adds to scores"),
    "cap": (capped, "of no attention that is known"),
    "length": (by_length, "has no value for a text of"),
}


@some(REFUSED, "both ways", "bias", "cap", "length")
def test_what_has_no_form_with_a_cache(name: str) -> None:
    attend, message = REFUSED[name]
    with pytest.raises(UserError, match=message, check=lambda error: error.code == "CHM224") as caught:
        imported(Whole(attend))
    assert "recognised is softmax(q @ k" in str(caught.value.hint)


class InCall(Stepped):
    """Its tokens see each other, and none of those before."""

    def _kept(self, at: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return k.transpose(0, 1)[None], v.transpose(0, 1)[None]

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        x = self.table(tokens)
        q, k, v = (y.view(-1, HEADS, WIDTH).transpose(0, 1)[None] for y in self.joint(x).chunk(3, -1))
        found: Tensor = self.head(filled(q, k, v).transpose(1, 2).reshape(-1, HEADS * WIDTH))
        return found


class Late(Stepped):
    """Writes its rows one further."""

    def _kept(self, at: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return super()._kept(at + 1, k, v)


@pytest.mark.parametrize(
    ("module", "message"),
    [(InCall(), "the tokens of the call only"), (Late(), "other places than the positions of the tokens")],
    ids=["in a call", "late"],
)
def test_steps_that_are_no_cache(module: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message, check=lambda error: error.code == "CHM224"):
        imported(module)


def test_contexts_that_nothing_says_or_something_else_does() -> None:
    def code(error: UserError) -> bool:
        return error.code == "CHM224"

    with pytest.raises(UserError, match="nothing says how many", check=code) as caught:
        imported(Whole(flash, positions=False))
    assert "--context N" in str(caught.value.hint)
    found = chimerac.explain(Whole(biased))
    (obstacle,) = found.obstacles
    assert (obstacle.code, obstacle.places[0].file.rpartition("/")[2]) == ("CHM224", "test_attention.py")
    assert "recognised is softmax" in found.render()
    with pytest.raises(UserError, match="there are positions for 72", check=code):
        imported(Whole(flash), 73)
    for module in (Stepped(), WHOLE["window"]()):
        with pytest.raises(UserError, match="nothing that depends on it", check=code):
            imported(module, 32)
