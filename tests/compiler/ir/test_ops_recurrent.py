"""Recurrences against PyTorch and plain formulas in double precision; the same bits however the tokens are split."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
import torch
from ir_tools import assert_same_bits, draw, run_op, scalar

from chimerac.compiler.ir.context import ATTENTION
from chimerac.compiler.ir.module import Attribute
from chimerac.compiler.ir.ops import OPS

HEADS = 2
Arrays = list[np.ndarray]


def gates(seed: int, tokens: int) -> np.ndarray:
    opened: np.ndarray = 1 / (1 + np.exp(-draw(seed, tokens, HEADS)))
    return opened


def conv(tokens: int, width: int = 9, taps: int = 4) -> tuple[Arrays, Arrays]:
    return [draw(1, tokens, width), draw(2, width, taps)], [draw(3, taps - 1, width)]


def delta(tokens: int, dk: int = 5, dv: int = 7) -> tuple[Arrays, Arrays]:
    q, k, v = draw(1, tokens, HEADS, dk), draw(2, tokens, HEADS, dk), draw(3, tokens, HEADS, dv)
    k = k / np.linalg.norm(k, axis=-1, keepdims=True)
    decay = (-np.abs(draw(4, tokens, HEADS))).astype(np.float32)
    return [q, k, v, decay, gates(5, tokens)], [draw(6, HEADS, dk, dv)]


def linear_attention(tokens: int, dk: int = 5, dv: int = 7) -> tuple[Arrays, Arrays]:
    (q, k, v, decay, _), state = delta(tokens, dk, dv)
    return [q, k, v, decay], state


def generalized(tokens: int, dk: int = 5, dv: int = 7) -> tuple[Arrays, Arrays]:
    """As RWKV-7 has them: a removes where the normed key points, b puts a part of that back."""
    (r, removed, v, _, _), state = delta(tokens, dk, dv)
    decay, rate = (np.abs(np.tanh(draw(seed, tokens, HEADS, dk))) for seed in (4, 5))
    return [r, decay, draw(7, tokens, HEADS, dk), v, -removed, removed * rate], state


def mlstm(tokens: int, dk: int = 5, dv: int = 7) -> tuple[Arrays, Arrays]:
    q, k, v = draw(1, tokens, HEADS, dk), draw(2, tokens, HEADS, dk), draw(3, tokens, HEADS, dv)
    i, f = draw(4, tokens, HEADS, scale=2), draw(5, tokens, HEADS, scale=2)
    return [q, k, v, i, f], [draw(6, HEADS, dk, dv), draw(7, HEADS, dk), draw(8, HEADS)]


def titans(tokens: int, width: int = 5) -> tuple[Arrays, Arrays]:
    k, v = draw(1, tokens, HEADS, width), draw(2, tokens, HEADS, width)
    steps = [gates(3, tokens), gates(4, tokens) * np.float32(0.1), gates(5, tokens) * np.float32(0.2)]
    anchor = draw(6, HEADS, 2, width, width, scale=0.4)
    return [k, v, *steps, anchor], [draw(7, HEADS, 2, width, width), draw(8, HEADS, 2, width, width), scalar(1)]


def attention(tokens: int, width: int = 6) -> tuple[Arrays, Arrays]:
    q, k, v, slot = (draw(seed, tokens, HEADS, width) for seed in range(4))
    persistent = [draw(5, 3, HEADS, width), draw(6, 3, HEADS, width)]
    rings = [draw(7, 21, HEADS, width), draw(8, 21, HEADS, width)]
    return [q, k, v, *persistent, slot], [*rings, scalar(0), scalar(1)]


Case = tuple[str, Callable[[int], tuple[Arrays, Arrays]], dict[str, Attribute], tuple[int, ...]]
#: op, operands for T tokens (then states and flags), attributes, operands that go by token
CASES: list[Case] = [
    ("causal_conv", conv, {}, (0,)),
    ("gated_delta", delta, {"scale": 0.4}, (0, 1, 2, 3, 4)),
    ("gated_linear_attention", linear_attention, {"scale": 0.4}, (0, 1, 2, 3)),
    ("generalized_delta", generalized, {}, (0, 1, 2, 3, 4, 5)),
    ("mlstm", mlstm, {"scale": 0.4}, (0, 1, 2, 3, 4)),
    ("titans_update", titans, {}, (0, 1, 2, 3, 4)),
    ("window_attention", attention, {"window": 5, "scale": 0.4}, (0, 1, 2, 5)),
]
SPLITS = [(1,) * 16, (16,), (3, 1, 12), (15, 1), (7, 9)]


def test_the_cases_are_all_ops_with_a_state() -> None:
    stateful = {name for name, entry in OPS.items() if entry.in_place}
    of_their_own = {"titans_anchor", *ATTENTION}  # tested elsewhere
    assert stateful == {case[0] for case in CASES} | of_their_own


def run_split(case: Case, split: tuple[int, ...], start: int) -> Arrays:
    """Outputs joined along the tokens and last states, the tokens given in calls of some sizes."""
    name, make, attributes, by_token = case
    operands, states = make(16)
    fed = OPS[name].in_place  # result → the operand that gets it in the next call
    outputs: dict[int, Arrays] = {}
    position = 0
    arrays = [*operands, *states]
    for size in split:
        given = [a[position : position + size] if i in by_token else a for i, a in enumerate(arrays)]
        if name == "window_attention":
            given[8] = scalar(start + position)
        results = run_op(name, *given, **attributes)
        for i, result in enumerate(results):
            if i in fed:
                arrays[fed[i]] = result
            else:
                outputs.setdefault(i, []).append(result)
        position += size
    return [np.concatenate(o) for o in outputs.values()] + [arrays[i] for i in fed.values()]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_calls_of_any_size_give_the_same_bits(case: Case, split: tuple[int, ...]) -> None:
    starts = (0, 32) if case[0] == "window_attention" else (0,)  # the others have no position
    for start in starts:
        whole = run_split(case, (16,), start)
        for got, expected in zip(run_split(case, split, start), whole, strict=True):
            assert_same_bits(got, expected)


@pytest.mark.parametrize("tokens", [1, 2, 5])
@pytest.mark.parametrize("taps", [1, 2, 4])
def test_causal_conv_is_a_depthwise_convolution(tokens: int, taps: int) -> None:
    (x, weight), (tail,) = conv(tokens, 7, taps)
    y, new_tail = run_op("causal_conv", x, weight, tail)
    history = torch.from_numpy(np.concatenate([tail, x])).double().T[None]
    truth = torch.nn.functional.conv1d(history, torch.from_numpy(weight).double()[:, None], groups=7)[0].T
    np.testing.assert_allclose(y, truth.numpy(), rtol=1e-6, atol=1e-6)
    assert_same_bits(new_tail, np.concatenate([tail, x])[tokens:])


@pytest.mark.parametrize(("dk", "dv"), [(1, 1), (5, 7), (8, 8), (9, 16)])
def test_gated_delta_rule(dk: int, dv: int) -> None:
    operands, (state,) = delta(6, dk, dv)
    y, new_state = run_op("gated_delta", *operands, state, scale=0.4)
    q, k, v, decay, beta = (a.astype(np.float64) for a in operands)
    for h in range(HEADS):
        s = state[h].astype(np.float64)
        for t in range(6):
            erase = np.eye(dk) - beta[t, h] * np.outer(k[t, h], k[t, h])
            s = erase @ (np.exp(decay[t, h]) * s) + beta[t, h] * np.outer(k[t, h], v[t, h])
            np.testing.assert_allclose(y[t, h], 0.4 * q[t, h] @ s, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(new_state[h], s, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("dk", "dv"), [(1, 1), (5, 7), (8, 8), (9, 16)])
def test_gated_linear_attention_is_a_product_with_decays(dk: int, dv: int) -> None:
    """As one product of all tokens with all before, the decays between them added up (arXiv 2405.21060, section 3)."""
    operands, (state,) = linear_attention(6, dk, dv)
    y, new_state = run_op("gated_linear_attention", *operands, state, scale=0.4)
    q, k, v, decay = (a.astype(np.float64) for a in operands)
    since = np.cumsum(decay, axis=0)
    between = np.tril(np.ones((6, 6)))[:, :, None] * np.exp(np.minimum(since[:, None] - since, 0))
    seen = np.einsum("thk,shk,tsh,shv->thv", q, k, between, v)
    truth = 0.4 * (seen + np.einsum("thk,th,hkv->thv", q, np.exp(since), state))
    np.testing.assert_allclose(y, truth, rtol=1e-4, atol=1e-5)
    left = np.einsum("shk,sh,shv->hkv", k, np.exp(since[-1] - since), v) + np.exp(since[-1])[:, None, None] * state
    np.testing.assert_allclose(new_state, left, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("dk", "dv"), [(1, 1), (5, 7), (8, 8), (9, 16)])
def test_generalized_delta_is_a_product_of_transitions(dk: int, dv: int) -> None:
    """S = S (diag(w) + a^T b) + v^T k with rows of values, as arXiv 2503.14456 writes it."""
    operands, (state,) = generalized(6, dk, dv)
    y, new_state = run_op("generalized_delta", *operands, state)
    r, decay, k, v, a, b = (torch.from_numpy(array).double() for array in operands)
    s = torch.from_numpy(state).double().mT
    for t in range(6):
        s = s @ (torch.diag_embed(decay[t]) + a[t][:, :, None] @ b[t][:, None]) + v[t][:, :, None] @ k[t][:, None]
        np.testing.assert_allclose(y[t], (s @ r[t][:, :, None]).squeeze(-1).numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(new_state, s.mT.numpy(), rtol=1e-4, atol=1e-5)


def test_generalized_delta_as_flash_linear_attention_has_it() -> None:
    """Its reference in plain PyTorch, whose decays are logarithms. That file needs less than the package does."""
    package = find_spec("fla")
    if package is None or package.origin is None or find_spec("einops") is None:
        pytest.skip("fla-core and einops are not installed")
    naive = run_path(str(Path(package.origin).parent / "ops/generalized_delta_rule/dplr/naive.py"))
    (r, decay, k, v, a, b), (state,) = generalized(6)
    rows = [torch.from_numpy(array)[None].transpose(1, 2) for array in (r, k, v, a, b, np.log(decay))]
    theirs, left = naive["dplr_recurrence"](*rows, initial_state=torch.from_numpy(state)[None])
    y, new_state = run_op("generalized_delta", r, decay, k, v, a, b, state)
    scale = r.shape[-1] ** -0.5
    np.testing.assert_allclose(y * scale, theirs[0].transpose(0, 1).numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(new_state, left[0].numpy(), rtol=1e-4, atol=1e-5)


def test_heads_of_values_that_share_keys() -> None:
    """The same as with the keys of each head written out; neighbours share."""
    (q, k, *_), _ = delta(6, 5, 7)
    v, decay = draw(3, 6, 3 * HEADS, 7), -np.abs(draw(4, 6, 3 * HEADS))
    beta = np.abs(draw(5, 6, 3 * HEADS))
    state = draw(6, 3 * HEADS, 5, 7)
    each = [np.repeat(heads, 3, axis=1) for heads in (q, k)]
    shared = run_op("gated_delta", q, k, v, decay, beta, state, scale=0.4)
    for got, expected in zip(shared, run_op("gated_delta", *each, v, decay, beta, state, scale=0.4), strict=True):
        assert_same_bits(got, expected)
    shared = run_op("gated_linear_attention", q, k, v, decay, state, scale=0.4)
    apart = run_op("gated_linear_attention", *each, v, decay, state, scale=0.4)
    for got, expected in zip(shared, apart, strict=True):
        assert_same_bits(got, expected)


def test_mlstm_without_stabiliser() -> None:
    """C = f C + i k v, n = f n + i k, h = q C / max(|q n|, 1), with gates in plain exponentials."""
    (q, k, v, i, f), _ = mlstm(6)
    zeros = [np.zeros((HEADS, 5, 7), np.float32), np.zeros((HEADS, 5), np.float32), np.zeros(HEADS, np.float32)]
    y, c, n, m = run_op("mlstm", q, k, v, i, f, *zeros, scale=0.4)
    for h in range(HEADS):
        exact_c, exact_n = np.zeros((5, 7)), np.zeros(5)
        for t in range(6):
            forget, accept = 1 / (1 + np.exp(-float(f[t, h]))), np.exp(float(i[t, h]))
            exact_c = forget * exact_c + accept * np.outer(k[t, h], v[t, h])
            exact_n = forget * exact_n + accept * k[t, h]
            query = 0.4 * q[t, h].astype(np.float64)
            truth = query @ exact_c / max(abs(query @ exact_n), 1)
            np.testing.assert_allclose(y[t, h], truth, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(c[h] * np.exp(float(m[h])), exact_c, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(n[h] * np.exp(float(m[h])), exact_n, rtol=1e-4, atol=1e-5)


def test_mlstm_with_huge_gates_stays_finite() -> None:
    (q, k, v, i, f), states = mlstm(6)
    for result in run_op("mlstm", q, k, v, i + np.float32(300), f - np.float32(200), *states, scale=0.4):
        assert np.isfinite(result).all()


def memory_output(k: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    """k: [H, d]; memory: [H, 2, d, d]."""
    hidden = torch.nn.functional.silu(torch.einsum("hi,hio->ho", k, memory[:, 0]))
    return k + torch.einsum("hi,hio->ho", hidden, memory[:, 1])


@pytest.mark.parametrize("width", [1, 5, 8, 9])
def test_titans_update_is_gradient_descent(width: int) -> None:
    operands, (memory, momentum, write) = titans(4, width)
    got_memory, got_momentum = run_op("titans_update", *operands, memory, momentum, write)
    k, v, eta, theta, alpha, anchor = (torch.from_numpy(a).double() for a in operands)
    m, s = torch.from_numpy(memory).double(), torch.from_numpy(momentum).double()
    for t in range(4):
        point = anchor.clone().requires_grad_()
        loss = (memory_output(k[t], point) - v[t]).square().sum()
        (gradient,) = torch.autograd.grad(loss, point)
        s = eta[t][:, None, None, None] * s - theta[t][:, None, None, None] * gradient
        m = (1 - alpha[t])[:, None, None, None] * m + s
    np.testing.assert_allclose(got_memory, m.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got_momentum, s.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", [1, 5, 8, 9])
def test_titans_apply(width: int) -> None:
    q, anchor = draw(1, 3, HEADS, width), draw(2, HEADS, 2, width, width)
    (got,) = run_op("titans_apply", q, anchor)
    for t in range(3):
        truth = memory_output(torch.from_numpy(q[t]).double(), torch.from_numpy(anchor).double())
        np.testing.assert_allclose(got[t], truth.numpy(), rtol=1e-4, atol=1e-5)
        assert_same_bits(run_op("titans_apply", q[t : t + 1], anchor)[0], got[t : t + 1])


@pytest.mark.parametrize(
    ("position", "write", "renewed"), [(0, 1, True), (16, 1, True), (48, 1, True), (8, 1, False), (16, 0, False)]
)
def test_titans_anchor(position: int, write: int, renewed: bool) -> None:
    anchor, memory = draw(1, HEADS, 2, 4, 4), draw(2, HEADS, 2, 4, 4)
    (got,) = run_op("titans_anchor", anchor, memory, scalar(position), scalar(write), chunk=16)
    assert_same_bits(got, memory if renewed else anchor)


@pytest.mark.parametrize("name", [name for name, entry in OPS.items() if entry.guard])
def test_guarded_ops_leave_their_states_alone_without_write(name: str) -> None:
    entry = OPS[name]
    attributes: dict[str, int | float | str] = {"chunk": 16}
    if name == "titans_anchor":
        arrays = [draw(1, HEADS, 2, 4, 4), draw(2, HEADS, 2, 4, 4), scalar(16)]
    else:
        _, make, attributes, _ = next(case for case in CASES if case[0] == name)
        operands, states = make(3)
        arrays = [*operands, *states[:-1]]
    assert entry.operands[-1] == entry.guard
    kept = run_op(name, *arrays, scalar(0), **attributes)
    written = run_op(name, *arrays, scalar(1), **attributes)
    for result, operand in entry.in_place.items():
        assert_same_bits(kept[result], arrays[operand])
        assert kept[result].tobytes() != written[result].tobytes()
