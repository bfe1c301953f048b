"""What PyTorch ops that no handler knows are written with: PyTorch's own table, and a few forms of ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor

from chimerac.frontends.export.functions import FUNCTIONS

aten = torch.ops.aten


def table(known: Collection[str]) -> dict[Any, Callable[..., Any]]:
    """Op → what computes it by others, of every op but those that are known."""
    whole = torch.export.default_decompositions()
    whole.update(OURS)
    for op in [op for op in whole if str(op) in known]:
        del whole[op]
    return whole


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``scaled_dot_product_attention`` as its documentation writes it.

    Args:
        query: [..., H, L, E]; key: [..., H, S, E]; value: [..., H, S, V].
    """
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    if enable_gqa:
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    scores = query @ key.transpose(-2, -1) * factor
    if is_causal:
        later = torch.arange(key.shape[-2])[None, :] > torch.arange(query.shape[-2])[:, None]
        scores = scores.masked_fill(later, -math.inf)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    weights = torch.softmax(scores, -1)
    return (torch.dropout(weights, dropout_p, True) if dropout_p else weights) @ value


#: Our own forms, where PyTorch has none or one of its own kernels.
OURS: dict[Any, Callable[..., Any]] = {aten.scaled_dot_product_attention.default: attention, **FUNCTIONS}
