"""The custom operation of the span knot's correction."""

from __future__ import annotations

import torch
from torch import Tensor

from chimerac.frontends.layers.knot import KnotTargets, bipolar, normalize, project, project_back, relax
from chimerac.frontends.layers.op_shapes import like
from chimerac.frontends.layers.shapes import KnotShape

WORD_BITS = 32


def unpacked(words: Tensor) -> Tensor:
    """Bits of whole numbers [1, W] as +1 and -1, lowest first: float32 [32 W]."""
    bits = words.reshape(-1, 1).to(torch.int64) >> torch.arange(WORD_BITS, device=words.device)
    return (2 * (bits & 1) - 1).float().flatten()


@torch.library.custom_op("chimera::knot_relax", mutates_args=())
def knot_relax(
    u: Tensor,
    kappa: Tensor,
    signs: Tensor,
    memory: Tensor,
    hit: Tensor,
    flips: int,
    rounds: int,
    weight: float,
    early_exit: float,
) -> Tensor:
    """u + kappa P^T (z_end - z_0) / n, with one memory for all rows (docs/model.md, Span knot).

    Args:
        u: [T, D]; kappa: [D]; signs: [2, n/2], of P; memory: i32 [1, n/32], the bits of s, lowest first.
        hit: [1, 1], how near the memory is; not above 0 where there is none, and then the result is u.
        flips: bits that a round flips at most; weight: of the memory in E; early_exit: least change of E to go on.
    """
    if not bool(hit.reshape(()) > 0):
        return u.clone()
    bits, s = signs.numel(), unpacked(memory)
    shape = KnotShape(
        sketch_bits=bits,
        max_iterations=rounds,
        flip_fraction=flips / bits,
        early_exit=early_exit,
        memory_weight=weight,
    )
    f = normalize(project(u, signs))
    moved = bipolar(f) * (relax(f, KnotTargets(lambda z: s.expand_as(z)), shape).flips - 1)
    return u + kappa * project_back(moved, signs, u.shape[-1]) / bits


knot_relax.register_fake(like(0))
