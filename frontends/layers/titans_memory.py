"""The Titans neural memory (arXiv 2501.00663) in closed form over anchor chunks.

Memory, momentum and anchor are [B, H, 2, d, d]: per head W1 and W2 of M(k) = k + silu(k W1) W2, matrices [in, out].
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from chimerac.frontends.layers.fusing import fusible
from chimerac.frontends.layers.precision import float32_island

LEAST_ETA = 1e-30  #: stands for a momentum that underflowed, whose logarithm would be infinite


@float32_island
@fusible(q=1, anchor=1)
def apply_memory(q: Tensor, anchor: Tensor) -> Tensor:
    """M(q). q: [B, T, H, d]; anchor: [B, H, 2, d, d]."""
    first, second = anchor.unbind(2)
    hidden = F.silu(torch.einsum("bthi,bhio->btho", q, first))
    return q + torch.einsum("bthi,bhio->btho", hidden, second)


@float32_island
@fusible(k=1, v=1, eta=1, theta=1, alpha=1, anchor=1, memory=1, momentum=1)
def update_memory(
    k: Tensor, v: Tensor, eta: Tensor, theta: Tensor, alpha: Tensor, anchor: Tensor, memory: Tensor, momentum: Tensor
) -> tuple[Tensor, Tensor]:
    """All tokens of (a part of) one anchor chunk at once; the maths of ops.titans_update.

    With le = cumsum log eta and lb = cumsum log(1 - alpha):
    S_C = e^{le_C} S_0 - sum_j e^{le_C - le_j} theta_j g_j and
    M_C = e^{lb_C} M_0 + f S_0 - sum_j w_j theta_j g_j, where f = sum_i e^{lb_C - lb_i + le_i} and
    w_j = sum_{i >= j} e^{lb_C - lb_i + le_i - le_j}. Every g_j has rank one, so each sum is one product per matrix.

    Args:
        k, v: [B, T, H, d]; eta in [0, 1), theta, alpha in [0, 1): [B, T, H].

    Returns:
        the new memory and momentum.
    """
    first, second = anchor.unbind(2)
    z = torch.einsum("bthi,bhio->btho", k, first)
    s = torch.sigmoid(z)
    a = z * s
    error = 2 * (k + torch.einsum("bthi,bhio->btho", a, second) - v)
    back = torch.einsum("btho,bhio->bthi", error, second) * s * (1 + z * (1 - s))
    left, right = torch.stack([k, a], dim=3), torch.stack([back, error], dim=3)  # [B, T, H, 2, d]

    le, lb = eta.clamp_min(LEAST_ETA).log().cumsum(1), torch.log1p(-alpha).cumsum(1)
    to_end = lb[:, -1:] - lb
    order = torch.ones(k.shape[1], k.shape[1], dtype=torch.bool, device=k.device).tril()[None, :, :, None]
    weights = (to_end[:, :, None] + le[:, :, None] - le[:, None]).masked_fill(~order, float("-inf")).exp().sum(1)
    in_momentum = (le[:, -1:] - le).exp() * theta
    in_memory = weights * theta

    def gathered(weight: Tensor) -> Tensor:
        return torch.einsum("bth,bthli,bthlo->bhlio", weight, left, right)

    def per_head(scale: Tensor) -> Tensor:
        return scale[..., None, None, None]

    carried = (to_end + le).exp().sum(1)
    new_memory = per_head(lb[:, -1].exp()) * memory + per_head(carried) * momentum - gathered(in_memory)
    return new_memory, per_head(le[:, -1].exp()) * momentum - gathered(in_momentum)


def anchor_spans(position: int, tokens: int, chunk: int) -> list[tuple[int, int, bool]]:
    """Runs (start, end, starts a chunk) of a call's tokens that share one anchor: cut where position % chunk == 0."""
    cuts = [0, *(t for t in range(1, tokens) if (position + t) % chunk == 0), tokens]
    return [(a, b, (position + a) % chunk == 0) for a, b in itertools.pairwise(cuts)]


@float32_island
def window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    persistent_k: Tensor,
    persistent_v: Tensor,
    window: int,
    scale: float,
    block: int = 128,
) -> tuple[Tensor, Tensor]:
    """Causal attention over the persistent slots and a sliding window, banded, ``block`` queries at a time.

    Args:
        q: [B, T, H, d]; k, v: [B, L+T, H, d], the last T of them the queries' own.
        persistent_k, persistent_v: [P, H, d].

    Returns:
        y [B, T, H, d] and the logarithm of the softmax denominator [B, T, H], for ``add_slot``.
    """
    tokens, before = q.shape[1], k.shape[1] - q.shape[1]
    outputs, denominators = [], []
    for start in range(0, tokens, block):
        end = min(start + block, tokens)
        first = max(0, before + start - window + 1)
        queries, keys, values = q[:, start:end], k[:, first : before + end], v[:, first : before + end]
        distance = (
            torch.arange(before + start, before + end, device=q.device)[:, None]
            - torch.arange(first, before + end, device=q.device)[None]
        )
        near = torch.einsum("bthd,bnhd->bthn", queries, keys)
        near = near.masked_fill(((distance < 0) | (distance >= window))[:, None], float("-inf"))
        fixed = torch.einsum("bthd,phd->bthp", queries, persistent_k)
        scores = scale * torch.cat([fixed, near], dim=-1)
        weights = scores.softmax(-1)
        slots = persistent_k.shape[0]
        y = torch.einsum("bthp,phd->bthd", weights[..., :slots], persistent_v)
        outputs.append(y + torch.einsum("bthn,bnhd->bthd", weights[..., slots:], values))
        denominators.append(scores.logsumexp(-1))
    return torch.cat(outputs, dim=1), torch.cat(denominators, dim=1)


@float32_island
def add_slot(y: Tensor, log_denominator: Tensor, q: Tensor, slot: Tensor, scale: float) -> Tensor:
    """Attention with one more slot whose key and value are ``slot`` [B, T, H, d], from the result without it."""
    weight = torch.sigmoid(scale * (q * slot).sum(-1) - log_denominator)[..., None]
    return y + weight * (slot - y)
