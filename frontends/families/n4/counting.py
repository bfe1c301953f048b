"""The running means of N4: token i counts i times, and the sum up to token j is divided by j^2.

For a constant input this gives (1 + 1/j) / 2, not 1: the official code and its README both say so.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from chimerac.frontends.families.n4.shape import Counter
from chimerac.frontends.layers.precision import float32_island


def counts(first: int, tokens: int, counter: Counter, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """The factors i and the divisors j^2 of tokens number ``first`` + 1 to ``first`` + ``tokens``: float32 [T] each.

    Of ``bf16`` both are rounded to bfloat16, as they are in a model of that type.
    """
    number = torch.arange(first + 1, first + tokens + 1, dtype=torch.float32, device=device)
    if counter == "exact":
        return number, number * number
    rounded = number.bfloat16()
    return rounded.float(), (rounded * rounded).float()


@float32_island
def running_means(x: Tensor, counter: Counter, before: Tensor | None = None, first: int = 0) -> Tensor:
    """The mean up to each token, float32 even under autocast.

    Args:
        x: [B, H, T, dh], of tokens number ``first`` + 1 on.
        before: the mean up to token ``first``, [B, H, 1, dh]; None at the beginning.

    Returns:
        [B, H, T, dh].
    """
    factors, divisors = (part[:, None] for part in counts(first, x.shape[2], counter, x.device))
    sums = torch.cumsum(factors * x, dim=2)
    if before is not None:
        _, divisor = counts(first - 1, 1, counter, x.device)
        sums = sums + before * divisor
    return sums / divisors


def recurrence(tokens: int, counter: Counter) -> np.ndarray:
    """The same as mean_j = keep_j mean_{j-1} + add_j x_j, whose numbers stay bounded however long a text is.

    Returns:
        keep and add of tokens 1 to ``tokens``, float32 [tokens, 2], rounded once.
    """
    factors, divisors = (part.double().numpy() for part in counts(0, tokens, counter))
    keep = np.concatenate([[0.0], divisors[:-1]]) / divisors
    return np.stack([keep, factors / divisors], axis=1).astype(np.float32)
