"""What stands in an exported graph for an attention that was recognised: causal, over a whole text."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.library.custom_op("chimera::causal_attention", mutates_args=())
def causal_attention(
    q: Tensor, k: Tensor, v: Tensor, scale: float, window: int, rows: int, slopes: list[float]
) -> Tensor:
    """Softmax attention of each token of a text over itself and the tokens before it.

    Args:
        q: [..., H, T, d]; k: [..., G, T, d]; v: [..., G, T, dv], axes before the heads of 1; G divides H.
        window: 0: all tokens before, at most ``rows`` together; else the last ``window`` ones.
        rows: of the cache that its compiled form has.
        slopes: of the heads, by which scores are lessened for each token that a key is further before; empty for none.

    Returns:
        [..., H, T, dv].
    """
    group = q.shape[-3] // k.shape[-3] if q.dim() > 2 else 1
    if group > 1:
        k, v = k.repeat_interleave(group, dim=-3), v.repeat_interleave(group, dim=-3)
    ages = torch.arange(q.shape[-2], device=q.device)[:, None] - torch.arange(q.shape[-2], device=q.device)
    hidden = (ages < 0) | (ages >= (window or rows))
    scores = q @ k.transpose(-2, -1) * scale
    if slopes:
        scores = scores - torch.tensor(slopes, device=q.device)[:, None, None] * ages
    scores = scores.masked_fill(hidden, float("-inf"))
    return torch.softmax(scores, -1) @ v


@causal_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, scale: float, window: int, rows: int, slopes: list[float]) -> Tensor:
    return q.new_empty(*q.shape[:-1], v.shape[-1])
