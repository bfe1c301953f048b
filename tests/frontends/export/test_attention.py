"""Attention in the forms that people write becomes one op with a cache; what has no such form is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
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


@pytest.fixture(autouse=True)
def _short_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows are looked for in texts of thousands of tokens, which takes a second; here they are of a dozen."""
    monkeypatch.setattr("chimerac.frontends.export.attention.LONGEST", 128)


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


SLOPES = {"slopes": "0.5,0.25,0.125,0.7071067690849304", "slopes by places": "1.0,0.5,0.25,0.125"}


@some(WHOLE, "filled", "window", "parameter", "expanded", "slopes", "slopes by places")
def test_whole_texts(name: str) -> None:
    module = WHOLE[name]()
    made = imported(module, 50 if getattr(module, "places", True) is None else None)
    for op in attentions(made):
        heads = {"grouped": 2, "interleaved": 2, "expanded": 1, "slopes": 2}.get(name, HEADS)
        window = {"window": 11, "slopes by places": 13}.get(name, 0)
        rows = window + BLOCK - 1 if window else CONTEXT if getattr(module, "places", True) else 50
        assert op.attributes.get("slopes") == SLOPES.get(name)
        assert (op.integer("window"), op.operands[3].type.shape) == (window, (heads, rows, WIDTH))
    assert len(attentions(made)) == (2 if name == "TransformerEncoder" else 1)
    assert context_of(made) == (CONTEXT if window else rows)  # those have a table of positions
    check(module, made)


@some(STEPPED, "rows", "grouped", "window", "slope")
def test_modules_with_caches_of_their_own(name: str) -> None:
    module = STEPPED[name]()
    made = imported(module)
    (op,) = attentions(made)
    assert op.integer("window") == (9 if name == "window" else 0)
    assert op.attributes.get("slopes") == (",".join(["0.30000001192092896"] * HEADS) if name == "slope" else None)
    assert set(made.states) == {"key_cache", "value_cache"}, "the module's own buffers are no states any more"
    assert {op.operands[i].type.shape for i in (3, 4)} == {
        (2 if name in ("grouped", "slope") else HEADS, CONTEXT, WIDTH)
    }
    check(module, made)


def test_a_context_may_be_smaller_than_the_table_of_positions() -> None:
    assert context_of(imported(Whole(flash), 20)) == 20


def biased(of_age: Callable[[Tensor], Tensor]) -> Attend:
    """Something added to scores."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        age = ages(q.shape[2])
        bias = of_age(age.clamp(min=0)) + torch.where(age >= 0, 0.0, -math.inf)
        return F.softmax(q @ k.transpose(-2, -1) + bias, -1) @ v

    return attend


class Published(nn.Module):
    """A model of transformers on a whole text."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.model(ids, use_cache=False).logits
        return logits


def bloom() -> nn.Module:
    config = transformers.BloomConfig(vocab_size=256, hidden_size=24, n_layer=2, n_head=3)
    return Published(transformers.BloomForCausalLM(config))


def mpt() -> nn.Module:
    config = transformers.MptConfig(
        vocab_size=256, d_model=24, n_layers=1, n_heads=3, max_seq_len=64, expansion_ratio=2
    )
    return Published(transformers.MptForCausalLM(config))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("make", [bloom, mpt])
def test_models_of_transformers_with_alibi(make: Callable[[], nn.Module]) -> None:
    """Their three slopes are those of four heads, and one of eight in between."""
    torch.manual_seed(6)
    module = make()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.4)
    made = imported(module, 48)
    assert {op.text("slopes") for op in attentions(made)} == {"0.0625,0.00390625,0.25"}
    check(module, made)


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
    "bias": (biased(lambda age: -(age**2) / 8), "no slope by distance"),
    "far bias": (biased(lambda age: -0.25 * age.clamp(max=40)), "no slope by distance"),
    "by head": (
        biased(lambda age: torch.where(torch.arange(HEADS)[:, None, None] + age > 9, -math.inf, 0.0)),
        "by head",
    ),
    "cap": (capped, "of no attention that is known"),
    "length": (by_length, "has no value for a text of"),
}


@some(REFUSED, "both ways", "bias", "far bias", "by head", "cap", "length")
def test_what_has_no_form_with_a_cache(name: str) -> None:
    attend, message = REFUSED[name]
    with pytest.raises(UserError, match=message, check=lambda error: error.code == "CHM224") as caught:
        imported(Whole(attend))
    assert "recognised is softmax(q @ k" in str(caught.value.hint)


@pytest.mark.slow
def test_a_long_window_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    (op,) = attentions(imported(Whole(masked_by(lambda age: (age >= 0) & (age < 4000)), positions=False)))
    assert op.attributes["window"] == 4000


@pytest.mark.parametrize("slope", [0.0, 0.25])
def test_a_window_that_no_tried_text_shows_is_refused(slope: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks are computed for texts up to a length; with slopes, which differ by head, for shorter ones."""
    monkeypatch.setattr("chimerac.frontends.export.attention.LONGEST", 64 if slope else 32)
    monkeypatch.setattr("chimerac.frontends.export.attention.MOST_BIASES", HEADS * 32**2)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        age = ages(q.shape[2])
        bias = torch.where((age >= 0) & (age < 48), -slope * age * torch.ones(HEADS, 1, 1), -math.inf)
        return F.softmax(q @ k.transpose(-2, -1) + bias, -1) @ v

    module = Whole(attend, positions=False)
    with pytest.raises(UserError, match="compares with 48", check=lambda error: error.code == "CHM224") as caught:
        imported(module, 49)
    assert str(caught.value.hint) == "give a context of at most 48, or a window of less than 32"
    (op,) = attentions(imported(module, 48))
    assert not op.attributes.get("window")


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
    found = chimerac.explain(Whole(REFUSED["bias"][0]))
    (obstacle,) = found.obstacles
    assert (obstacle.code, obstacle.places[0].file.rpartition("/")[2]) == ("CHM224", "test_attention.py")
    assert "recognised is softmax" in found.render()
    with pytest.raises(UserError, match="there are positions for 72", check=code):
        imported(Whole(flash), 73)
    for module in (Stepped(), WHOLE["window"]()):
        with pytest.raises(UserError, match="nothing that depends on it", check=code):
            imported(module, 32)
