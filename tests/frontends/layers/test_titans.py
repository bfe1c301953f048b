"""Titans: the memory's gradient and closed form, the window attention, and the layer's forms agree."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.families.chimera.shape import ChimeraShape
from chimerac.frontends.layers import ops
from chimerac.frontends.layers.norm import l2_norm
from chimerac.frontends.layers.titans import BACKWARD_CHUNKS, TitansMac, bounded_gates
from chimerac.frontends.layers.titans_memory import (
    add_slot,
    anchor_spans,
    apply_memory,
    update_memory,
    window_attention,
)

B, H, D = 2, 3, 8
updated: Callable[..., tuple[Tensor, Tensor]] = update_memory  # for calls with a list of tensors


def series(tokens: int) -> tuple[Tensor, ...]:
    """k, v, eta, theta, alpha."""
    k, v = l2_norm(torch.randn(B, tokens, H, D), 1e-6), torch.randn(B, tokens, H, D)
    return k, v, 0.99 * torch.rand(B, tokens, H), 0.1 * torch.rand(B, tokens, H), 0.2 * torch.rand(B, tokens, H)


def memories() -> tuple[Tensor, Tensor, Tensor]:
    """anchor, memory, momentum."""
    anchor, memory, momentum = (0.3 * torch.randn(B, H, 2, D, D) for _ in range(3))
    return anchor, memory, momentum


def test_update_is_the_gradient_of_the_squared_error() -> None:
    k, v, *_ = (x.double() for x in series(1))
    anchor = memories()[0].double().requires_grad_()
    loss = (apply_memory(k, anchor) - v).square().sum()
    (expected,) = torch.autograd.grad(loss, anchor)
    one, zero = torch.ones(B, 1, H, dtype=torch.float64), torch.zeros(B, H, 2, D, D, dtype=torch.float64)
    _, momentum = update_memory(k, v, 0.5 * one, 0.1 * one, 0.0 * one, anchor.detach(), zero, zero)
    torch.testing.assert_close(momentum, -0.1 * expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("tokens", [1, 2, 15, 16])
def test_closed_form_equals_the_recursion(tokens: int) -> None:
    tensors, (anchor, memory, momentum) = series(tokens), memories()
    write = torch.tensor(1, dtype=torch.int32)
    new_memory, new_momentum = updated(*tensors, anchor, memory, momentum)
    for b in range(B):
        stepped = (memory[b], momentum[b])
        for t in range(tokens):
            stepped = ops.titans_update(*(x[b, t : t + 1] for x in tensors), anchor[b], *stepped, write)
        torch.testing.assert_close((new_memory[b], new_momentum[b]), stepped, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(apply_memory(tensors[0], anchor)[b], ops.titans_apply(tensors[0][b], anchor[b]))


def test_reading_calls_do_not_write() -> None:
    tensors, (anchor, memory, momentum) = series(3), memories()
    arguments = (*(x[0] for x in tensors), anchor[0], memory[0], momentum[0])
    same = ops.titans_update(*arguments, torch.tensor(0, dtype=torch.int32))
    assert torch.equal(same[0], memory[0])
    assert torch.equal(same[1], momentum[0])


class PublicMemory(nn.Module):
    """Our memory function as the network inside titans_pytorch's NeuralMemory: weights act as x @ W there too."""

    def __init__(self, first: Tensor, second: Tensor) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(first.clone()), nn.Parameter(second.clone())

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.nn.functional.silu(x @ self.first) @ self.second


def test_titans_pytorch_gives_the_same() -> None:
    """Theirs has one eta and alpha per chunk and gradients at the call's first weights: with a chunk of one token and
    one call the store is our recursion with every token at one anchor."""
    titans_pytorch = pytest.importorskip("titans_pytorch")
    tokens = 6
    first, second = 0.3 * torch.randn(D, D), 0.3 * torch.randn(D, D)
    memory = titans_pytorch.NeuralMemory(
        dim=D, chunk_size=1, heads=1, model=PublicMemory(first, second), pre_rmsnorm=False,
        mem_model_norm_add_residual=False, momentum=True, per_head_learned_parameters=False,
        store_memory_loss_fn=lambda prediction, target: (prediction - target).square().sum(-1),
        default_step_transform_max_lr=0.1,
    )  # fmt: skip
    x = torch.randn(1, tokens, D)
    with torch.no_grad():
        k, v = memory.to_keys(x), memory.to_values(x)
        theta = 0.1 * torch.sigmoid(memory.to_adaptive_step[0](x))
        eta, alpha = torch.sigmoid(memory.to_momentum[0](x)), torch.sigmoid(memory.to_decay_factor[0](x))
    _, state, *_ = memory.store_memories(x)
    updates = state.updates
    anchor = torch.stack([first, second])[None, None]
    gates = (gate.reshape(1, tokens, 1) for gate in (eta, theta, alpha))
    ours, _ = updated(k[:, :, None], v[:, :, None], *gates, anchor, anchor, torch.zeros_like(anchor))
    theirs = torch.stack([updates["first"][0, -1], updates["second"][0, -1]])
    torch.testing.assert_close(ours[0, 0], theirs.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("tokens", "before", "window", "block"), [(40, 0, 7, 16), (5, 6, 7, 3), (300, 20, 64, 128)])
def test_banded_attention_with_a_slot_equals_the_step_form(tokens: int, before: int, window: int, block: int) -> None:
    q, slot = torch.randn(B, tokens, H, D), torch.randn(B, tokens, H, D)
    k, v = torch.randn(B, before + tokens, H, D), torch.randn(B, before + tokens, H, D)
    persistent_k, persistent_v = torch.randn(2, H, D), torch.randn(2, H, D)
    base = window_attention(q, k, v, persistent_k, persistent_v, window, 0.6, block)
    banded = add_slot(*base, q, slot, 0.6)
    rows = window + tokens
    ring = torch.zeros(2, rows, H, D)
    # the positions before the call sit at 0 .. before-1 of the ring
    ring[0, :before], ring[1, :before] = k[0, :before], v[0, :before]
    position, write = torch.tensor(before, dtype=torch.int32), torch.tensor(1, dtype=torch.int32)
    stepped, _, _ = ops.window_attention(
        q[0], k[0, before:], v[0, before:], persistent_k, persistent_v, slot[0], *ring, position, write, window, 0.6
    )
    torch.testing.assert_close(banded[0], stepped, rtol=1e-4, atol=1e-5)


def test_anchor_spans_cut_at_absolute_multiples() -> None:
    assert anchor_spans(0, 40, 16) == [(0, 16, True), (16, 32, True), (32, 40, True)]
    assert anchor_spans(5, 12, 16) == [(0, 11, False), (11, 12, True)]
    assert anchor_spans(16, 1, 16) == [(0, 1, True)]


@pytest.mark.usefixtures("exact_activations")
def test_reading_passes_equal_steps_that_do_not_write(
    nano: ChimeraShape, make_model: Callable[[ChimeraShape], ChimeraModel]
) -> None:
    mixer = make_model(nano).layers[3].mixer
    assert isinstance(mixer, TitansMac)
    first, second = torch.randn(1, 40, nano.hidden), torch.randn(1, 40, nano.hidden)
    with torch.no_grad():
        written, _, context = mixer.write(first)
        read = mixer.read(second, context)
        state = mixer.initial_state(16)
        for t in range(40):
            position = torch.tensor(t, dtype=torch.int32)
            one, zero = torch.tensor(1, dtype=torch.int32), torch.tensor(0, dtype=torch.int32)
            y, state = mixer.step(first[0, t : t + 1], state, position, one)
            torch.testing.assert_close(y[0], written[0, t], rtol=1e-3, atol=1e-4)
            y, after = mixer.step(second[0, t : t + 1], state, position, zero)
            torch.testing.assert_close(y[0], read[0, t], rtol=1e-3, atol=1e-4)
            assert all(torch.equal(state[name], after[name]) for name in state)


@pytest.mark.parametrize("eta", [-20.0, 0.0, 3.0, 20.0])
@pytest.mark.parametrize("alpha", [-20.0, -4.6])
def test_the_memory_stays_bounded_whatever_repeats(eta: float, alpha: float) -> None:
    """The largest step, keys that repeat for whole chunks, values that flip: the worst case for a stale gradient."""
    raised = [torch.full((1, 16, H), g) for g in (eta, 20.0, alpha)]
    gates = bounded_gates(raised[0], raised[1], raised[2], 16)
    k, v = l2_norm(torch.randn(2, 1, 1, H, D), 1e-6).expand(2, 1, 16, H, D)
    for flips_every in (1000, 5):
        memory, momentum = torch.randn(1, H, 2, D, D) / D**0.5, torch.zeros(1, H, 2, D, D)
        for chunk in range(300):
            sign = 1 if chunk // flips_every % 2 else -1
            memory, momentum = update_memory(k, sign * v, *gates, memory, memory, momentum)
        assert memory.abs().max() < 5


def test_a_repeated_token_stays_finite(nano: ChimeraShape, make_model: Callable[[ChimeraShape], ChimeraModel]) -> None:
    mixer = make_model(nano).get_submodule("layers.3.mixer")
    with torch.no_grad():
        y, state = mixer(torch.randn(1, 1, nano.hidden).expand(1, 2000, -1))
    assert y.isfinite().all()
    assert state["memory"].abs().max() < 5


def test_gradients_go_back_through_so_many_chunks_of_memory(
    nano: ChimeraShape, make_model: Callable[[ChimeraShape], ChimeraModel]
) -> None:
    """The window is shorter than a run of chunks, so that beyond it the memory alone tells of a token."""
    mixer = make_model(nano).layers[3].mixer
    assert isinstance(mixer, TitansMac)
    run = BACKWARD_CHUNKS * mixer.chunk
    assert mixer.window < run
    tokens = run + mixer.window + 1
    x = torch.randn(1, tokens, nano.hidden, requires_grad=True)
    y, _ = mixer(x)
    for place, known in ((run - 1, True), (tokens - 1, False)):
        (gradient,) = torch.autograd.grad(y[0, place].sum(), x, retain_graph=True)
        assert bool((gradient[0, 0] != 0).any()) == known
    changed = x.detach().clone()
    changed[0, 0] += 1
    assert not torch.equal(mixer(changed)[0][0, -1], y[0, -1])  # the value still depends on it


def test_memory_learns_an_association() -> None:
    k, v = l2_norm(torch.randn(1, 1, 1, D), 1e-6), torch.randn(1, 1, 1, D)
    memory, momentum = 0.3 * torch.randn(1, 1, 2, D, D), torch.zeros(1, 1, 2, D, D)
    before = (apply_memory(k, memory) - v).square().sum()
    repeated = [x.expand(1, 16, 1, D) for x in (k, v)]
    gates = [torch.full((1, 16, 1), value) for value in (0.5, 0.01, 0.001)]
    for _ in range(20):
        memory, momentum = updated(*repeated, *gates, memory, memory, momentum)
    assert (apply_memory(k, memory) - v).square().sum() < 0.1 * before
