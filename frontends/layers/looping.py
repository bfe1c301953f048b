"""Looped layers with a stable diagonal injection (Parcae, arXiv 2604.12946), and how deep each sequence loops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.layers.norm import RMSNorm
from chimerac.frontends.layers.precision import float32_island
from chimerac.frontends.layers.shapes import LoopShape

DEPTH_STREAM = 0x6465707468  #: "depth": keeps these draws apart from others of the same seed


class LoopInjection(nn.Module):
    """Before each iteration: h <- decay * h + gain * e, with e = norm(prelude); after the last: C * h.

    dt = softplus(dt_bias), a = exp(A_log), decay = exp(-dt a) in (0, 1) per channel, so that the linear part is stable
    for any parameter value. gain = dt B (Euler) or, with ``exact_input``, (1 - exp(-dt a)) / a B (held input). B and C
    are diagonal. All parameters: [D].
    """

    def __init__(self, hidden: int, norm_eps: float, *, exact_input: bool) -> None:
        super().__init__()
        self.norm = RMSNorm(hidden, norm_eps)
        self.A_log = nn.Parameter(torch.zeros(hidden))
        self.dt_bias = nn.Parameter(torch.zeros(hidden))
        self.B = nn.Parameter(torch.ones(hidden))
        self.C = nn.Parameter(torch.ones(hidden))
        self.exact_input = exact_input

    def inject(self, h: Tensor, e: Tensor) -> Tensor:
        """The input of the next iteration. h, e: [..., D]."""
        return _inject(h, e, self.A_log, self.dt_bias, self.B, self.exact_input)

    def read_out(self, h: Tensor) -> Tensor:
        """What the coda gets. h: [..., D]."""
        return h * self.C


@float32_island
def _inject(h: Tensor, e: Tensor, a_log: Tensor, dt_bias: Tensor, b: Tensor, exact_input: bool) -> Tensor:
    dt, rate = F.softplus(dt_bias), torch.exp(a_log)
    decay = torch.exp(-(dt * rate))
    gain = (-decay + 1) / rate if exact_input else dt
    return decay * h + gain * (b * e)


def sample_depths(loop: LoopShape, seed: int, step: int, sequences: Sequence[int]) -> Tensor:
    """Loop counts for training, int64 [len(sequences)]: clamp(Poisson(default), minimum, maximum).

    Each draw depends on (seed, step, sequence number) only, so recomputation and data-parallel ranks agree.
    """
    return torch.tensor([_poisson(loop.default, _uniform(seed, step, n), loop) for n in sequences], dtype=torch.int64)


def _uniform(seed: int, step: int, sequence: int) -> float:
    bits = np.random.Philox(key=[seed, DEPTH_STREAM], counter=[0, sequence, step, 0])
    return float(np.random.Generator(bits).random())


def _poisson(mean: float, uniform: float, loop: LoopShape) -> int:
    """The Poisson quantile of ``uniform``, clamped to the loop's range."""
    count, probability = 0, float(np.exp(-mean))
    cumulative = probability
    while cumulative < uniform and count < loop.maximum:
        count += 1
        probability *= mean / count
        cumulative += probability
    return max(count, loop.minimum)


def first_recorded(depths: Tensor, *, truncate: bool) -> Tensor:
    """The first iteration (from 1) that gradients reach: the last ceil(R/2) of R when truncated, else all."""
    return depths - (depths + 1) // 2 + 1 if truncate else torch.ones_like(depths)
