"""The whole model in its training form: causality, loops, gradients and their truncation, speed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from chimerac.compiler.errors import UserError
from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.families.chimera.shape import ChimeraShape
from chimerac.frontends.layers.linear import TernaryLinear
from chimerac.frontends.layers.moe import router_loads
from chimerac.frontends.layers.shapes import LoopShape, QuantizationShape

Make = Callable[[ChimeraShape], ChimeraModel]


def text(shape: ChimeraShape, batch: int, tokens: int) -> Tensor:
    return torch.randint(0, shape.vocabulary, (batch, tokens))


def test_logits_are_causal_and_sequences_independent(shape: ChimeraShape, make_model: Make) -> None:
    model, tokens = make_model(shape).eval(), text(shape, 3, 40)
    with torch.no_grad():
        logits = model(tokens)
        assert logits.shape == (3, 40, shape.vocabulary)
        assert logits.dtype == torch.float32
        changed = tokens.clone()
        changed[1, 25:] = (changed[1, 25:] + 1) % shape.vocabulary
        others = model(changed)
        assert torch.equal(others[0], logits[0])
        assert torch.equal(others[1, :25], logits[1, :25])
        assert not torch.allclose(others[1, 25], logits[1, 25])


def test_every_parameter_gets_a_gradient(shape: ChimeraShape, make_model: Make) -> None:
    model, tokens = make_model(shape), text(shape, 2, 40)
    loss = torch.nn.functional.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    allowed = {name for name in unused if name.endswith("kappa")}  # span knots without memory
    if shape.titans.persistent_slots == 0:
        allowed |= {name for name in unused if "persistent" in name}
    if shape.moe is not None and shape.moe.experts_per_token == 1:
        allowed |= {name for name in unused if name.endswith("router.weight")}  # the one weight is s / s
    assert set(unused) == allowed
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.slow
def test_training_lowers_the_loss(nano: ChimeraShape, make_model: Make) -> None:
    model = make_model(nano)
    tokens = torch.arange(33).remainder(7)[None].expand(2, -1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(15):
        logits = model(tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.usefixtures("exact_activations")
def test_depths_per_sequence_equal_separate_runs(nano: ChimeraShape, make_model: Make) -> None:
    model, tokens = make_model(nano).eval(), text(nano, 4, 20)
    with torch.no_grad():
        together = model(tokens, torch.tensor([2, 1, 3, 2]))
        for row, depth in enumerate([2, 1, 3, 2]):
            torch.testing.assert_close(together[row], model(tokens[row : row + 1], depth)[0], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(model(tokens), model(tokens, 2))


@pytest.mark.parametrize("depths", [[2, 3, 1, 1], [1, 2, 3, 2], [1, 1, 2, 1]])
def test_truncation_changes_no_logits(depths: list[int], nano: ChimeraShape, make_model: Make) -> None:
    """It splits a step's sequences into recorded and other ones, which must not see each other."""
    model, tokens = make_model(nano), text(nano, 4, 20)
    whole = model(tokens, torch.tensor(depths), truncate=False)
    torch.testing.assert_close(model(tokens, torch.tensor(depths), truncate=True), whole, rtol=1e-3, atol=1e-3)


def test_depths_outside_the_range_are_refused(nano: ChimeraShape, make_model: Make) -> None:
    for loops in (0, 4, torch.tensor([1, 4])):
        with pytest.raises(UserError, match="loops 1 to 3 times") as error:
            make_model(nano)(text(nano, 2, 4), loops)
        assert error.value.code == "CHM221"


def test_visits_of_finished_sequences_are_not_counted(nano: ChimeraShape, make_model: Make) -> None:
    model = make_model(nano).train()
    model(text(nano, 2, 10), torch.tensor([1, 3]))
    loads = {name: int(load.sum()) for name, load in router_loads(model).items()}
    assert loads == {"layers.3.ffn": 2 * 10 * (1 + 3), "layers.7.ffn": 2 * 10 * 2}


def gradients(model: ChimeraModel, tokens: Tensor, loops: int | Tensor, truncate: bool) -> dict[str, Tensor]:
    model.zero_grad()
    (model(tokens, loops, truncate=truncate) * torch.linspace(-1, 1, model.shape.vocabulary)).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_truncation_changes_gradients_but_not_logits(nano: ChimeraShape, make_model: Make) -> None:
    model, tokens = make_model(nano), text(nano, 2, 20)
    assert torch.equal(model(tokens, 3, truncate=True), model(tokens, 3, truncate=False))
    one, other = (gradients(model, tokens, 1, truncate) for truncate in (True, False))
    assert all(torch.equal(one[name], other[name]) for name in other)  # one iteration: nothing to cut
    one, other = (gradients(model, tokens, 3, truncate) for truncate in (True, False))
    assert one.keys() == other.keys()
    assert not torch.allclose(one["layers.2.mixer.q_proj.weight"], other["layers.2.mixer.q_proj.weight"])


def test_truncated_gradients_ignore_the_cut_iterations(nano: ChimeraShape, make_model: Make) -> None:
    """Without slow writers the result is that of starting the last ceil(R/2) iterations from a constant."""
    shape = replace(nano, mixers=("gated_deltanet", "xlstm_m", "gated_deltanet"), moe=None,
                    loop=LoopShape(first=1, last=1, minimum=1, maximum=4, default=3, exit_threshold=0.01))  # fmt: skip
    model, tokens = make_model(shape), text(shape, 2, 12)
    assert model.loop is not None
    actual = gradients(model, tokens, 3, truncate=True)
    model.zero_grad()
    table = model.embedding.table()
    x, _ = model.layers[0](model.embedding.embed(tokens, table))
    e = model.loop.norm(x)
    with torch.no_grad():
        h, _ = model.layers[1](model.loop.inject(torch.zeros_like(e), e))
    for _ in range(2):
        h, _ = model.layers[1](model.loop.inject(h, e))
    x, _ = model.layers[2](model.loop.read_out(h))
    logits = model.embedding.head(model.norm(x), table)
    (logits * torch.linspace(-1, 1, shape.vocabulary)).sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(actual[name], parameter.grad, rtol=1e-4, atol=1e-5)


def test_slow_writers_learn_although_their_iteration_is_cut(nano: ChimeraShape, make_model: Make) -> None:
    model, tokens = make_model(nano), text(nano, 2, 40)
    found = gradients(model, tokens, 2, truncate=True)
    writers = ["k_proj", "v_proj", "km_proj", "vm_proj", "eta_proj", "theta_proj", "alpha_proj"]
    for name in writers:
        assert found[f"layers.3.mixer.{name}.weight"].abs().sum() > 0, name
    assert found["layers.3.mixer.memory_init"].abs().sum() > 0
    # and the writers' gradient stops there: the first iteration's layers before it are not reached through it
    whole = gradients(model, tokens, 2, truncate=False)
    assert not torch.allclose(found["layers.2.mixer.v_proj.weight"], whole["layers.2.mixer.v_proj.weight"])


def test_no_gradient_is_recorded_where_the_caller_wants_none(nano: ChimeraShape, make_model: Make) -> None:
    with torch.no_grad():
        assert not make_model(nano)(text(nano, 1, 4), 3).requires_grad


def test_autocast_keeps_the_float32_islands(nano: ChimeraShape, make_model: Make) -> None:
    model, tokens = make_model(nano).eval(), text(nano, 1, 40)
    with torch.no_grad():
        exact = model(tokens)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            narrow = model(tokens)
    assert narrow.dtype == torch.float32
    spread = exact.max() - exact.min()
    assert (narrow - exact).abs().mean() < 0.03 * spread


def test_sparse_gradient_reaches_every_ternary_matrix(nano: ChimeraShape) -> None:
    model = ChimeraModel(nano, sparse_gradient=True)
    assert all(m.sparse_gradient for m in model.modules() if isinstance(m, TernaryLinear))
    assert not any(m.sparse_gradient for m in ChimeraModel(nano).modules() if isinstance(m, TernaryLinear))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 5}, "heads \\* head width"),
        ({"quantization": QuantizationShape(128, 48)}, "block size must divide"),
        ({"loop": LoopShape(2, 9, 1, 3, 2, 0.01)}, "inside the model"),
        ({"loop": LoopShape(2, 5, 2, 3, 1, 0.01)}, "minimum <= default"),
        ({"conv_size": 0}, "positive"),
    ],
)
def test_impossible_shapes_are_refused(nano: ChimeraShape, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        ChimeraModel(replace(nano, **change))
    assert error.value.code == "CHM220"


class Operations(TorchDispatchMode):
    """Counts the operations that run."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_the_training_form_does_not_step_token_by_token(nano: ChimeraShape, make_model: Make) -> None:
    """A token more costs a few operations (of the memory's chunks), where a step of all layers takes hundreds."""
    model = make_model(nano)
    counts = []
    for tokens in (64, 128):
        with Operations() as operations:  # type: ignore[no-untyped-call]
            model(text(nano, 1, tokens))
        counts.append(operations.count)
    assert (counts[1] - counts[0]) / 64 < 60
