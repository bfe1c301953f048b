"""Custom operations of the recurrent mixers: causal convolution, delta rules, gated linear attention, mLSTM.

Token after token."""

from __future__ import annotations

import torch
from torch import Tensor

from chimerac.frontends.layers.op_shapes import like


@torch.library.custom_op("chimera::causal_conv", mutates_args=())
def causal_conv(x: Tensor, weight: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
    """Depthwise causal convolution without bias or activation.

    Args:
        x: [T, D]; weight: [D, W], the last column meets the current token; tail: [W-1, D], the inputs just before x.

    Returns:
        y [T, D] and the new tail.
    """
    tokens, width = x.shape[0], weight.shape[1]
    history = torch.cat([tail, x])
    y = torch.zeros_like(x)
    for tap in range(width):
        y = y + weight[:, tap] * history[tap : tap + tokens]
    return y, history[tokens:].clone()


causal_conv.register_fake(like(0, 2))


@torch.library.custom_op("chimera::gated_delta", mutates_args=())
def gated_delta(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, state: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Gated delta rule (arXiv 2412.06464): S <- exp(g) S; S <- S + beta k (v - k^T S)^T; o = scale q^T S.

    Args:
        q, k: [T, G, dk], each head for H / G neighbours of v; v: [T, H, dv]; log_decay (<= 0), beta: [T, H];
            state: [H, dk, dv].

    Returns:
        o [T, H, dv] and the new state.
    """
    q, k = (heads.repeat_interleave(v.shape[1] // heads.shape[1], dim=1) for heads in (q, k))
    outputs = []
    for t in range(q.shape[0]):
        state = torch.exp(log_decay[t])[:, None, None] * state
        error = v[t] - torch.einsum("hk,hkv->hv", k[t], state)
        state = state + k[t][:, :, None] * (beta[t][:, None] * error)[:, None, :]
        outputs.append(scale * torch.einsum("hk,hkv->hv", q[t], state))
    return torch.stack(outputs), state


gated_delta.register_fake(like(2, 5))


@torch.library.custom_op("chimera::gated_linear_attention", mutates_args=())
def gated_linear_attention(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Linear attention with a decay for each head (Mamba-2, arXiv 2405.21060): S <- exp(g) S + k v^T; o = scale q^T S.

    Args:
        q, k: [T, G, dk], each head for H / G neighbours of v; v: [T, H, dv]; log_decay (<= 0): [T, H];
            state: [H, dk, dv].

    Returns:
        o [T, H, dv] and the new state.
    """
    q, k = (heads.repeat_interleave(v.shape[1] // heads.shape[1], dim=1) for heads in (q, k))
    outputs = []
    for t in range(q.shape[0]):
        state = torch.exp(log_decay[t])[:, None, None] * state + k[t][:, :, None] * v[t][:, None, :]
        outputs.append(scale * torch.einsum("hk,hkv->hv", q[t], state))
    return torch.stack(outputs), state


gated_linear_attention.register_fake(like(2, 4))


@torch.library.custom_op("chimera::generalized_delta", mutates_args=())
def generalized_delta(
    r: Tensor, decay: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Generalised delta rule (RWKV-7, arXiv 2503.14456): S <- diag(w) S + b (a^T S) + k v^T; o = r^T S.

    Args:
        r, decay (0 to 1), k, a, b: [T, H, dk]; v: [T, H, dv]; state: [H, dk, dv].

    Returns:
        o [T, H, dv] and the new state.
    """
    outputs = []
    for t in range(r.shape[0]):
        removed = torch.einsum("hk,hkv->hv", a[t], state)
        kept = decay[t][:, :, None] * state + b[t][:, :, None] * removed[:, None, :]
        state = kept + k[t][:, :, None] * v[t][:, None, :]
        outputs.append(torch.einsum("hk,hkv->hv", r[t], state))
    return torch.stack(outputs), state


generalized_delta.register_fake(like(3, 6))


@torch.library.custom_op("chimera::mlstm", mutates_args=())
def mlstm(
    q: Tensor, k: Tensor, v: Tensor, i: Tensor, f: Tensor, c: Tensor, n: Tensor, m: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Matrix LSTM (arXiv 2405.04517), stabilised by m, no epsilon in the denominator.

    m' = max(logsigmoid(f) + m, i); F = exp(logsigmoid(f) + m - m'); I = exp(i - m'); C' = F C + I k v^T;
    n' = F n + I k; h = scale q^T C' / max(|scale q.n'|, exp(-m')).

    Args:
        q, k: [T, H, dk]; v: [T, H, dv]; i, f: [T, H], after the soft cap; c: [H, dk, dv]; n: [H, dk]; m: [H].

    Returns:
        h [T, H, dv] and the new c, n, m.
    """
    outputs = []
    for t in range(q.shape[0]):
        carried = torch.nn.functional.logsigmoid(f[t]) + m
        m = torch.maximum(carried, i[t])
        forget, accept = torch.exp(carried - m), torch.exp(i[t] - m)
        accepted = accept[:, None] * k[t]
        c = forget[:, None, None] * c + accepted[:, :, None] * v[t][:, None, :]
        n = forget[:, None] * n + accepted
        query = scale * q[t]
        denominator = torch.maximum((query * n).sum(-1).abs(), torch.exp(-m))
        outputs.append(torch.einsum("hk,hkv->hv", query, c) / denominator[:, None])
    return torch.stack(outputs), c, n, m


mlstm.register_fake(like(2, 5, 6, 7))
