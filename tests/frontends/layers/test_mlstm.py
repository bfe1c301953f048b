"""mLSTM: chunk form, step form, the unstabilised definition and public implementations agree."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from chimerac.frontends.layers import ops
from chimerac.frontends.layers.mlstm import chunk_mlstm, soft_cap

WIDTH, SCALE = 16, 0.25
chunked: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]] = chunk_mlstm  # for calls with a list of tensors


def inputs(tokens: int, gates: float = 1.0, batch: int = 2, fresh: bool = False) -> tuple[Tensor, ...]:
    """q, k, v, i, f, c, n, m."""
    q, k, v = (torch.randn(batch, tokens, 3, WIDTH) for _ in range(3))
    i, f = gates * torch.randn(batch, tokens, 3), 2 + gates * torch.randn(batch, tokens, 3)
    c, n, m = torch.randn(batch, 3, WIDTH, WIDTH), torch.randn(batch, 3, WIDTH), torch.randn(batch, 3)
    return (q, k, v, i, f, c * 0, n * 0, m * 0) if fresh else (q, k, v, i, f, c, n, m)


def by_steps(*tensors: Tensor) -> tuple[Tensor, ...]:
    series, state = tensors[:5], tensors[5:]
    results = []
    for b in range(state[0].shape[0]):
        current, rows = [s[b] for s in state], []
        for t in range(series[0].shape[1]):
            h, *current = ops.mlstm(*(x[b, t : t + 1] for x in series), *current, SCALE)
            rows.append(h)
        results.append((torch.cat(rows), *current))
    return tuple(torch.stack(parts) for parts in zip(*results, strict=True))


@pytest.mark.parametrize("tokens", [1, 2, 63, 64, 65, 150])
@pytest.mark.parametrize("gates", [0.1, 1.0, 5.0])
def test_chunks_equal_steps(tokens: int, gates: float) -> None:
    tensors = inputs(tokens, gates)
    torch.testing.assert_close(chunked(*tensors, SCALE), by_steps(*tensors), rtol=1e-3, atol=1e-4)


def test_the_chunk_size_does_not_matter() -> None:
    tensors = inputs(100)
    reference = chunked(*tensors, SCALE, 64)
    for chunk in (1, 7, 100):
        torch.testing.assert_close(chunked(*tensors, SCALE, chunk), reference, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("split", [1, 13, 64, 99])
def test_any_split_gives_the_same(split: int) -> None:
    tensors = inputs(100)
    whole = chunked(*tensors, SCALE)
    first = chunked(*(x[:, :split] for x in tensors[:5]), *tensors[5:], SCALE)
    second = chunked(*(x[:, split:] for x in tensors[:5]), *first[1:], SCALE)
    torch.testing.assert_close(torch.cat([first[0], second[0]], 1), whole[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(second[1:], whole[1:], rtol=1e-3, atol=1e-4)


def unstabilised(q: Tensor, k: Tensor, v: Tensor, i: Tensor, f: Tensor) -> Tensor:
    """h_t = C_t^T q / max(|n_t q|, 1) with plain exponentials; for mild gates in float64 only."""
    c, n, outputs = torch.zeros(()), torch.zeros(()), []
    for t in range(q.shape[1]):
        forget, accept = torch.sigmoid(f[:, t]), torch.exp(i[:, t])
        c = forget[..., None, None] * c + accept[..., None, None] * k[:, t][..., :, None] * v[:, t][..., None, :]
        n = forget[..., None] * n + accept[..., None] * k[:, t]
        query = SCALE * q[:, t]
        denominator = (query * n).sum(-1).abs().clamp(min=1)
        outputs.append(torch.einsum("bhk,bhkv->bhv", query, c) / denominator[..., None])
    return torch.stack(outputs, 1)


def test_values_and_gradients_equal_the_unstabilised_definition() -> None:
    tensors = [x.double() for x in inputs(20, fresh=True)]
    series = [x.requires_grad_() for x in tensors[:5]]
    upstream = torch.randn(2, 20, 3, WIDTH, dtype=torch.float64)
    expected, actual = unstabilised(*series), chunked(*series, *tensors[5:], SCALE, 8)[0]
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(
        torch.autograd.grad((actual * upstream).sum(), series),
        torch.autograd.grad((expected * upstream).sum(), series),
        rtol=1e-7, atol=1e-9,
    )  # fmt: skip


def test_extreme_gates_stay_finite() -> None:
    tensors = list(inputs(200))
    tensors[3], tensors[4] = 15 * torch.sign(tensors[3]), 15 * torch.sign(tensors[4] - 2)
    assert all(x.isfinite().all() for x in chunked(*tensors, SCALE))
    assert all(x.isfinite().all() for x in by_steps(*tensors))


def test_mlstm_kernels_give_the_same() -> None:
    """Their epsilon of 1e-6 on the stabilised denominator is set to 0 or shows at 1e-5 for mild gates."""
    step = pytest.importorskip("mlstm_kernels.torch.recurrent.native_step")
    parallel = pytest.importorskip("mlstm_kernels.torch.parallel.native_stablef.fw")
    chunkwise = pytest.importorskip("mlstm_kernels.torch.chunkwise.native.fw")
    tensors = inputs(64, fresh=True)
    q, k, v, i, f = (x.transpose(1, 2).contiguous() for x in tensors[:5])
    ours = chunked(*tensors, WIDTH**-0.5)
    h, _, _ = parallel.mlstm_parallel_fw(q, k, v, i, f)
    torch.testing.assert_close(ours[0].transpose(1, 2), h, rtol=1e-3, atol=1e-4)
    h = chunkwise.mlstm_chunkwise_fw(q, k, v, i, f, chunk_size=16)[0]
    torch.testing.assert_close(ours[0].transpose(1, 2), h, rtol=1e-3, atol=1e-4)
    c, n, m = tensors[5], tensors[6], tensors[7][..., None]
    for t in range(64):
        row = (q[:, :, t], k[:, :, t], v[:, :, t], i[:, :, t, None], f[:, :, t, None])
        h, (c, n, m) = step.mlstm_recurrent_step__native_fw(c, n, m, *row, eps=0.0)
        torch.testing.assert_close(ours[0][:, t], h, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(ours[1:], (c, n, m.squeeze(-1)), rtol=1e-4, atol=1e-5)


def test_xlstm_gives_the_same() -> None:
    backends = pytest.importorskip("xlstm.blocks.mlstm.backends")
    tensors = inputs(48, fresh=True)
    q, k, v, i, f = (x.transpose(1, 2).contiguous() for x in tensors[:5])
    theirs = backends.parallel_stabilized_simple(q, k, v, i[..., None], f[..., None])
    ours = chunked(*tensors, WIDTH**-0.5)[0].transpose(1, 2)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_the_soft_cap_is_smooth_and_bounded() -> None:
    x = torch.tensor([-1000.0, -0.5, 0.0, 3.0, 1000.0])
    torch.testing.assert_close(soft_cap(x), 15 * torch.tanh(x / 15))
    assert soft_cap(x).abs().max() <= 15


def test_log_forget_of_a_padding_token_is_inert() -> None:
    q, k, v, i, f, c, n, m = inputs(3)
    i[:, 1], f[:, 1] = -torch.inf, torch.inf
    with_padding = chunked(q, k, v, i, f, c, n, m, SCALE)
    kept = [x[:, [0, 2]] for x in (q, k, v, i, f)]
    without = chunked(*kept, c, n, m, SCALE)
    torch.testing.assert_close(with_padding[0][:, [0, 2]], without[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(with_padding[1:], without[1:], rtol=1e-5, atol=1e-5)
    assert F.logsigmoid(torch.tensor(torch.inf)) == 0
