"""The span knot's discrete part: a bipolar sketch of a vector and a greedy descent of an energy over its bits.

The maths is this project's own; docs/model.md states it. Bits are numbers +1 and -1, n of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from chimerac.frontends.layers.precision import float32_island
from chimerac.frontends.layers.shapes import KnotShape

NORM_EPS = 1e-6  #: added to mean |f|

Nearest = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class KnotTargets:
    """What pulls the bits; each part may be absent.

    Attributes:
        nearest: maps bits [..., n] to the bipolar majority of the nearest memory entries [..., n]; asked again after
            each round of flips.
        binding: role xor filler of the active entity, bipolar, broadcastable to [..., n].
    """

    nearest: Nearest | None = None
    binding: Tensor | None = None


@dataclass(frozen=True)
class Relaxation:
    """What ``relax`` did. ``flips``: float32 [..., n], -1 where a bit was turned in the end, else 1."""

    flips: Tensor
    rounds: int
    energy_change: Tensor  #: [...], the sum of the rounds' changes, each against its own memory target


def walsh_hadamard(x: Tensor) -> Tensor:
    """The Walsh-Hadamard transform of the last axis (a power of two long), unscaled, in natural order."""
    size = x.shape[-1]
    half = 1
    while half < size:
        pairs = x.reshape(*x.shape[:-1], size // (2 * half), 2, half)
        first, second = pairs[..., 0, :], pairs[..., 1, :]
        x = torch.stack([first + second, first - second], dim=-2).flatten(-3)
        half *= 2
    return x


def random_signs(count: int, seed: int, layer: int, copy: int) -> Tensor:
    """``count`` signs, float32, that depend on the arguments only (Philox, counter based)."""
    generator = np.random.Generator(np.random.Philox(key=[seed, (layer << 8) | copy]))
    return torch.from_numpy(1.0 - 2.0 * generator.integers(0, 2, count)).float()


def project(u: Tensor, signs: Tensor) -> Tensor:
    """P u: two copies, each with its own signs, zero-padded to n/2, transformed, and scaled by 1/sqrt(n/2).

    u: [..., D], D <= n/2; signs: [2, n/2] -> [..., n].
    """
    half = signs.shape[-1]
    padded = torch.nn.functional.pad(u, (0, half - u.shape[-1]))
    return walsh_hadamard(padded[..., None, :] * signs).flatten(-2) / math.sqrt(half)


def project_back(z: Tensor, signs: Tensor, channels: int) -> Tensor:
    """P^T z: [..., n] -> [..., channels]."""
    half = signs.shape[-1]
    turned = walsh_hadamard(z.reshape(*z.shape[:-1], 2, half)) / math.sqrt(half)
    return (turned * signs).sum(-2)[..., :channels]


def normalize(f: Tensor) -> Tensor:
    """f / (mean |f| + 1e-6) over the last axis."""
    return f / (f.abs().mean(-1, keepdim=True) + NORM_EPS)


def bipolar(f: Tensor) -> Tensor:
    """The sign of f with sign(0) = 1; the gradient is that of f clipped to [-1, 1]."""
    sign = torch.where(f >= 0, 1.0, -1.0).to(f)
    soft = f.clamp(-1, 1)
    return soft + (sign - soft).detach()


def energy(z: Tensor, f: Tensor, memory: Tensor | None, binding: Tensor | None, shape: KnotShape) -> Tensor:
    """E(z) [...] = -<z, f>/n + w_m Ham(z, memory)/n + w_b Ham(z, binding)/n, with Ham(z, s)/n = (1 - <z, s>/n)/2."""
    value = -(z * f).mean(-1)
    if memory is not None:
        value = value + shape.memory_weight * 0.5 * (1 - (z * memory).mean(-1))
    if binding is not None:
        value = value + shape.binding_weight * 0.5 * (1 - (z * binding).mean(-1))
    return value


def flip_changes(z: Tensor, f: Tensor, memory: Tensor | None, binding: Tensor | None, shape: KnotShape) -> Tensor:
    """By how much E changes when one bit is flipped, exact for each bit on its own [..., n]: 2 z_i H_i / n."""
    field = f
    if memory is not None:
        field = field + 0.5 * shape.memory_weight * memory
    if binding is not None:
        field = field + 0.5 * shape.binding_weight * binding
    return 2 * z * field / z.shape[-1]


@float32_island
@torch.no_grad()
def relax(f: Tensor, targets: KnotTargets, shape: KnotShape) -> Relaxation:
    """Flip, at most ``max_iterations`` times, the floor(flip_fraction * n) bits that lower E most (ties: lower index).

    E has no products of two bits, so the changes of bits flipped together add up. A vector whose round changed E by
    more than -early_exit stops there. f: [..., n], normalised.
    """
    start = torch.where(f >= 0, 1.0, -1.0).to(f)
    z, budget = start.clone(), int(shape.flip_fraction * f.shape[-1])
    total = f.new_zeros(f.shape[:-1])
    active = torch.ones_like(total, dtype=torch.bool)
    rounds = 0
    while rounds < shape.max_iterations and bool(active.any()):
        memory = None if targets.nearest is None else targets.nearest(z)
        changes = flip_changes(z, f, memory, targets.binding, shape)
        best = torch.sort(changes, dim=-1, stable=True)
        taken = best.values[..., :budget].clamp(max=0) * active[..., None]
        signs = torch.where(taken < 0, -1.0, 1.0).to(f)
        z = z * torch.ones_like(z).scatter(-1, best.indices[..., :budget], signs)
        change = taken.sum(-1)
        total = total + change
        active = active & (change <= -shape.early_exit)
        rounds += 1
    return Relaxation(z * start, rounds, total)
