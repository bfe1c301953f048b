"""Numbers drawn by a counter generator: each depends on its key and place only, never on order, threads or devices."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

LOW = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10


def philox(start: int, count: int, high: int, key: tuple[int, int], device: torch.device) -> list[Tensor]:
    """Philox4x32-10 (Salmon et al., SC 2011) for the counters start..start+count-1.

    Args:
        high: the upper 64 bits of the 128-bit counters. key: two 32-bit numbers.

    Returns:
        the four 32-bit words of each counter, as int64 [count].
    """
    low = torch.arange(start, start + count, dtype=torch.int64, device=device)
    x = [low & LOW, (low >> 32) & LOW, torch.full_like(low, high & LOW), torch.full_like(low, (high >> 32) & LOW)]
    k = list(key)
    for _ in range(ROUNDS):
        # a product of two 32-bit numbers wraps in int64, but its 64 bits are right: shift and mask read them
        first, second = x[0] * MULTIPLIERS[0], x[2] * MULTIPLIERS[1]
        x = [
            ((second >> 32) & LOW) ^ x[1] ^ k[0],
            second & LOW,
            ((first >> 32) & LOW) ^ x[3] ^ k[1],
            first & LOW,
        ]
        k = [(word + step) & LOW for word, step in zip(k, WEYL, strict=True)]
    return x


def normal(size: int, high: int, key: tuple[int, int], device: torch.device) -> Tensor:
    """float32 [size], N(0, 1), by Box and Muller; element i is made from counter i // 4."""
    words = philox(0, -(-size // 4), high, key, device)
    numbers = []
    for a, b in ((0, 1), (2, 3)):
        # (n + 1/2) / 2^32 in float32 can round to 1, whose logarithm is 0: still a valid radius
        radius = torch.sqrt(-2 * torch.log((words[a].double() + 0.5) / 2**32)).float()
        angle = (words[b].double() * (2 * math.pi / 2**32)).float()
        numbers += [radius * angle.cos(), radius * angle.sin()]
    return torch.stack(numbers, dim=1).flatten()[:size]


def uniform(size: int, high: int, key: tuple[int, int], device: torch.device) -> Tensor:
    """float64 [size] in [0, 1); element i is made from counter i // 4."""
    words = philox(0, -(-size // 4), high, key, device)
    return torch.stack(words, dim=1).flatten()[:size].double() / 2**32


def generator(seed: int, stream: int, counter: int) -> np.random.Generator:
    """A numpy generator for one purpose (``stream``) and one occasion (``counter``)."""
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, counter, 0]))
