"""Custom operations of causal attention with a cache of keys and values."""

from __future__ import annotations

import math

import torch
from torch import Tensor


@torch.library.custom_op("chimera::cached_attention", mutates_args=())
def cached_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    position: Tensor,
    scale: float,
    window: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax attention of each token over itself and the tokens before it.

    Args:
        q: [T, H, d]; k: [T, G, d]; v: [T, G, dv]; q and k rotated. G divides H; query head h reads head h // (H / G).
        key_cache: [G, R, d]; value_cache: [G, R, dv]; position p lies in row p mod R. The call's k, v go in first.
        position: i32 [], of the first token of the call.
        scale: of the products of q and k.
        window: 0: all tokens before, and position + T <= R; else the last ``window`` ones, R >= window + T - 1.

    Returns:
        y [T, H, dv] and the new caches.
    """
    return _attended(q, k, v, key_cache, value_cache, position, scale, window, 0.0)


@torch.library.custom_op("chimera::gated_cached_attention", mutates_args=())
def gated_cached_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    position: Tensor,
    scale: float,
    window: int,
    share: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """cached_attention without the weights that are at most ``share`` times the largest of their query."""
    return _attended(q, k, v, key_cache, value_cache, position, scale, window, share)


def _attended(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    position: Tensor,
    scale: float,
    window: int,
    share: float,
) -> tuple[Tensor, Tensor, Tensor]:
    first, rows, group = int(position), key_cache.shape[1], q.shape[1] // k.shape[1]
    key_cache, value_cache = key_cache.clone(), value_cache.clone()
    written = (first + torch.arange(q.shape[0], device=q.device)) % rows
    key_cache[:, written], value_cache[:, written] = k.transpose(0, 1), v.transpose(0, 1)
    outputs = []
    for t in range(q.shape[0]):
        last = first + t
        seen = torch.arange(max(0, last - (window or rows) + 1), last + 1, device=q.device) % rows
        keys, values = (cache[:, seen].repeat_interleave(group, dim=0) for cache in (key_cache, value_cache))
        scores = scale * torch.einsum("hd,hnd->hn", q[t], keys)
        weights = torch.softmax(scores, dim=-1)
        if share:
            weights = torch.where(scores - scores.amax(-1, keepdim=True) > math.log(share), weights, 0.0)
        outputs.append(torch.einsum("hn,hnd->hd", weights, values))
    return torch.stack(outputs), key_cache, value_cache


@cached_attention.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, key_cache: Tensor, value_cache: Tensor, position: Tensor, scale: float, window: int
) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape[0], q.shape[1], v.shape[2]), torch.empty_like(key_cache), torch.empty_like(value_cache)


@gated_cached_attention.register_fake
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    position: Tensor,
    scale: float,
    window: int,
    share: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape[0], q.shape[1], v.shape[2]), torch.empty_like(key_cache), torch.empty_like(value_cache)
