"""A module of a few ops that every pass changes, for the golden texts."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from export_tools import tensor
from torch import Tensor, nn

from chimerac.compiler.build import pipeline
from chimerac.compiler.ir.module import Module
from chimerac.frontends.export.importer import import_module
from chimerac.frontends.layers import ops
from chimerac.passes.base import Pass
from chimerac.passes.ternary_packing import TernaryPacking

VOCABULARY, WIDTH, GROUP, BLOCK = 12, 8, 8, 4


class Mixer(nn.Module):
    """Two products of one normed input, a convolution with state, a decay that weights alone decide."""

    tail: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.rate = _parameter(1, WIDTH), _parameter(2, WIDTH)
        self.q, self.g, self.taps = _parameter(3, WIDTH, WIDTH), _parameter(4, WIDTH, WIDTH), _parameter(5, WIDTH, 4)
        self.register_buffer("tail", torch.zeros(3, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, WIDTH] -> the same."""
        x = ops.rms_norm(x, self.norm, 1e-6)
        y, tail = ops.causal_conv(ops.ternary_linear(x, self.q, GROUP, BLOCK), self.taps, self.tail)
        self.tail.copy_(tail)
        mixed: Tensor = F.silu(ops.ternary_linear(x, self.g, GROUP, BLOCK)) * y * torch.exp(-torch.exp(self.rate))
        return mixed


class Experts(nn.Module):
    """One of two experts for each token."""

    def __init__(self) -> None:
        super().__init__()
        self.router, self.bias = _parameter(6, 2, WIDTH), _parameter(7, 2)
        self.gate, self.up = _parameter(8, 2, WIDTH, WIDTH), _parameter(9, 2, WIDTH, WIDTH)
        self.down, self.norm = _parameter(10, 2, WIDTH, WIDTH), _parameter(11, 2, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, WIDTH] -> the same."""
        weights = (self.router, self.bias, self.gate, self.up, self.down, self.norm)
        y: Tensor = ops.moe(x, *weights, 1, GROUP, BLOCK, 1e-6)
        return y


class Small(nn.Module):
    """Embedding, a mixer in a loop, experts, and the tied head; or only the experts between embedding and head."""

    def __init__(self, *, states: bool) -> None:
        super().__init__()
        self.table, self.norm = _parameter(12, VOCABULARY, WIDTH), _parameter(13, WIDTH)
        self.mixer = Mixer() if states else None
        self.experts = Experts()

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        """The contract of docs/architecture.md."""
        x: Tensor = ops.int8_embedding(tokens, self.table, GROUP)
        if self.mixer is not None:
            y, _ = ops.loop_begin(x, 3, 2, 0.25)
            x = ops.loop_end(x + self.mixer(y))
        x = ops.rms_norm(x + self.experts(x), self.norm, 1e-6)
        logits: Tensor = ops.int8_linear(x, self.table, GROUP, BLOCK)
        return logits


def _parameter(seed: int, *shape: int) -> nn.Parameter:
    return nn.Parameter(tensor(seed, *shape, scale=0.5), requires_grad=False)


@cache
def imported(*, states: bool = True) -> Module:
    """The module as it comes from PyTorch."""
    return import_module(Small(states=states).eval(), name="small", block=16)


def passes(loops: int | None = None) -> list[Pass]:
    """All passes, packing for panels of eight rows."""
    return pipeline.passes(loops=loops, packing=[TernaryPacking(8)])


@cache
def lowered(*, states: bool = True, loops: int | None = None) -> Module:
    """The module after all passes."""
    return pipeline.run(imported(states=states), passes(loops))[0]
