"""Gated DeltaNet: chunk form, step form and public implementations agree; the exact-flow variant too."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from chimerac.frontends.layers import ops
from chimerac.frontends.layers.gated_deltanet import chunk_gated_delta, exact_flow
from chimerac.frontends.layers.norm import l2_norm

SCALE = 0.25
chunked: Callable[..., tuple[Tensor, Tensor]] = chunk_gated_delta  # for calls with a list of tensors


def inputs(tokens: int, decay: float = 0.3, batch: int = 2) -> tuple[Tensor, ...]:
    """q, k (unit length), v, log_decay, beta, state."""
    q, k, v = (torch.randn(batch, tokens, 3, 16) for _ in range(3))
    log_decay, beta = -decay * torch.rand(batch, tokens, 3), torch.rand(batch, tokens, 3)
    return l2_norm(q, 1e-6), l2_norm(k, 1e-6), v, log_decay, beta, torch.randn(batch, 3, 16, 16)


def by_steps(*tensors: Tensor) -> tuple[Tensor, Tensor]:
    """The custom operation, one token at a time, sequence by sequence."""
    *series, state = tensors
    outputs, states = [], []
    for b in range(state.shape[0]):
        current, rows = state[b], []
        for t in range(series[0].shape[1]):
            o, current = ops.gated_delta(*(x[b, t : t + 1] for x in series), current, SCALE)
            rows.append(o)
        outputs.append(torch.cat(rows))
        states.append(current)
    return torch.stack(outputs), torch.stack(states)


@pytest.mark.parametrize("tokens", [1, 2, 63, 64, 65, 150])
@pytest.mark.parametrize("decay", [0.0, 0.3, 30.0])
def test_chunks_equal_steps(tokens: int, decay: float) -> None:
    tensors = inputs(tokens, decay)
    torch.testing.assert_close(chunked(*tensors, SCALE), by_steps(*tensors), rtol=1e-4, atol=2e-5)


def test_the_chunk_size_does_not_matter() -> None:
    tensors = inputs(100)
    reference = chunked(*tensors, SCALE, 64)
    for chunk in (1, 7, 100, 256):
        torch.testing.assert_close(chunked(*tensors, SCALE, chunk), reference, rtol=1e-4, atol=1e-5)


def test_nearly_parallel_keys_stay_accurate() -> None:
    q, k, v, log_decay, beta, state = inputs(128)
    k = l2_norm(k[:, :1] + 1e-2 * k, 1e-6)
    tensors = (q, k, v, log_decay * 0, torch.full_like(beta, 0.999), state)
    torch.testing.assert_close(chunked(*tensors, SCALE), by_steps(*tensors), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("split", [0, 1, 13, 64, 70, 99])
def test_any_split_gives_the_same(split: int) -> None:
    *series, state = inputs(100)
    whole, last = chunked(*series, state, SCALE)
    parts = []
    for piece in (slice(0, split), slice(split, 100)):
        if piece.start != piece.stop:
            o, state = chunked(*(x[:, piece] for x in series), state, SCALE)
            parts.append(o)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state, last, rtol=1e-4, atol=1e-5)


def test_gradients_equal_those_of_the_recurrence() -> None:
    tensors = [x.double().requires_grad_() for x in inputs(20, batch=1)]

    def recurrence(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, state: Tensor) -> Tensor:
        outputs = []
        for t in range(q.shape[1]):
            state = g[:, t].exp()[..., None, None] * state
            error = beta[:, t][..., None] * (v[:, t] - torch.einsum("bhk,bhkv->bhv", k[:, t], state))
            state = state + torch.einsum("bhk,bhv->bhkv", k[:, t], error)
            outputs.append(SCALE * torch.einsum("bhk,bhkv->bhv", q[:, t], state))
        return torch.stack(outputs, 1)

    upstream = torch.randn(1, 20, 3, 16, dtype=torch.float64)
    expected = torch.autograd.grad((recurrence(*tensors) * upstream).sum(), tensors)
    actual = torch.autograd.grad((chunked(*tensors, SCALE, 8)[0] * upstream).sum(), tensors)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-10)


def test_transformers_gives_the_same() -> None:
    qwen = pytest.importorskip("transformers.models.qwen3_next.modeling_qwen3_next")
    q, k, v, log_decay, beta, state = inputs(70)
    raw_q, raw_k = torch.randn_like(q), torch.randn_like(k)
    ours = chunked(l2_norm(raw_q, 1e-6), l2_norm(raw_k, 1e-6), v, log_decay, beta, state, 16**-0.5)
    for function in (qwen.torch_recurrent_gated_delta_rule, qwen.torch_chunk_gated_delta_rule):
        theirs = function(
            raw_q, raw_k, v, log_decay, beta,
            initial_state=state, output_final_state=True, use_qk_l2norm_in_kernel=True,
        )  # fmt: skip
        torch.testing.assert_close(ours, tuple(theirs), rtol=1e-4, atol=1e-5)


def fla_file(relative: str) -> ModuleType:
    """A file of fla-core by path: importing the package needs triton."""
    pytest.importorskip("einops")
    package = importlib.util.find_spec("fla")
    if package is None or not package.submodule_search_locations:
        pytest.skip("fla-core is not installed")
    path = Path(next(iter(package.submodule_search_locations))) / relative
    spec = importlib.util.spec_from_file_location("fla_" + path.parent.name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_flash_linear_attention_gives_the_same() -> None:
    naive = fla_file("ops/gated_delta_rule/naive.py")
    q, k, v, log_decay, beta, state = inputs(70)
    ours = chunked(q, k, v, log_decay, beta, state, 16**-0.5)
    recurrent = naive.naive_recurrent_gated_delta_rule(
        q, k, v, beta, log_decay, initial_state=state, output_final_state=True
    )
    by_chunk = naive.naive_chunk_gated_delta_rule(
        q, k, v, log_decay, beta, initial_state=state, output_final_state=True
    )
    torch.testing.assert_close(ours, tuple(recurrent), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours, tuple(by_chunk), rtol=1e-4, atol=1e-5)


def test_exact_flow_integrates_the_delta_equation() -> None:
    k, v = torch.randn(6, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    state, beta = torch.randn(6, 6, dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64)
    # d[S; 1]/dt = [[-k k^T, k v^T], [0, 0]] [S; 1], integrated over beta by one matrix exponential
    generator = torch.zeros(12, 12, dtype=torch.float64)
    generator[:6, :6], generator[:6, 6:] = -torch.outer(k, k), torch.outer(k, v)
    flow = torch.matrix_exp(beta * generator)
    expected = flow[:6, :6] @ state + flow[:6, 6:]
    step = exact_flow(beta, k @ k)
    torch.testing.assert_close(state - step * torch.outer(k, k @ state) + step * torch.outer(k, v), expected)


def test_exact_flow_of_short_and_long_keys() -> None:
    beta = torch.tensor([0.3, 0.3, 0.3, 0.9])
    length = torch.tensor([0.0, 1e-9, 1e-4, 1e4])
    exact = -torch.expm1(-beta.double() * length.double()) / length.double().clamp(min=1e-30)
    exact[0] = 0.3
    torch.testing.assert_close(exact_flow(beta, length), exact.float(), rtol=2e-6, atol=0)


def test_exact_flow_equals_the_delta_rule_of_flash_linear_attention() -> None:
    naive = fla_file("ops/delta_rule/naive.py")
    q, k, v, log_decay, beta, state = inputs(40)
    k = 2 * torch.randn_like(k)
    step = exact_flow(beta, k.square().sum(-1))
    ours = chunked(q, k, v, 0 * log_decay, step, state, 16**-0.5)
    heads_first = [x.transpose(1, 2) for x in (q, k, v, step)]
    o, last = naive.delta_rule_recurrence(*heads_first, initial_state=state)
    torch.testing.assert_close(ours, (o.transpose(1, 2), last), rtol=1e-4, atol=1e-4)
