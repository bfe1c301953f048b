"""How closely the PyTorch model and its compiled form agree.

Three measures over the same tokens. *Free*: both run, and their logits are compared. Float rounding differs between
them, so now and then an activation lands on the other side of an int8 rounding boundary; from there on the two drift
apart by about a quantisation step. *With floats*: likewise, but PyTorch rounds no activations, so this is what their 8
bits change. *Aligned*: wherever PyTorch quantises a vector of activations, it continues with the compiled model's
vector after its own was found equal within ``INPUT_TOLERANCE``. So every layer is compared on equal inputs. The head
quantises PyTorch's own vector, and its logits must agree within ``LOGIT_TOLERANCE`` of their range. PyTorch keeps keys
and values in float32, and so does the compiled model in all three; what a bundle's smaller caches change is measured
beside it, by ``compare_caches``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from chimerac.compiler.build import pipeline
from chimerac.compiler.ir.caches import CACHE_TYPES, with_caches
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module, Op, walk
from chimerac.compiler.model import Reference

#: Largest difference of logits, as a part of their range.
LOGIT_TOLERANCE = 1e-3
#: Largest difference of two vectors to be quantised, as a part of the larger's largest element.
INPUT_TOLERANCE = 1e-4


@dataclass(frozen=True)
class CacheDifference:
    """What rounded keys and values change: the compiled model beside itself with caches of float32.

    Attributes:
        cache: one of ``ir.caches.CACHE_TYPES``.
        logits: largest difference of logits over their range; 0 for f32, whose caches hold what is computed.
        choice: share of positions with the same likeliest token.
    """

    cache: str
    logits: float = 0.0
    choice: float = 1.0

    def line(self) -> str:
        """What ``verify`` says of it."""
        if self.cache == CACHE_TYPES[0]:
            return "cache of f32: keys and values are kept as they are computed"
        return (
            f"cache of {self.cache}: logits within {self.logits:.1e} of those with caches of f32, likeliest token the"
            f" same at {self.choice:.0%} of the positions"
        )


@dataclass(frozen=True)
class Agreement:
    """Result of a comparison.

    Attributes:
        tokens: tokens that were run.
        aligned: largest difference of logits over their range, quantisers fed alike.
        inputs: largest relative difference of the vectors that were quantised in that run.
        same_choice: whether the likeliest token was the same at every position of the aligned run.
        free: largest difference of logits over their range without alignment.
        free_choice: share of positions of the free run with the same likeliest token.
        floats: largest difference of logits over their range where PyTorch rounds no activations.
        floats_choice: share of positions where it then has the same likeliest token.
        cache: what its caches change; None for a model without.
    """

    tokens: int
    aligned: float
    inputs: float
    same_choice: bool
    free: float
    free_choice: float
    floats: float
    floats_choice: float
    cache: CacheDifference | None = None

    @property
    def holds(self) -> bool:
        """Whether the tolerances are kept."""
        return self.aligned <= LOGIT_TOLERANCE and self.inputs <= INPUT_TOLERANCE and self.same_choice

    def lines(self) -> Iterator[str]:
        """What ``verify`` says of it, once it holds."""
        yield (
            f"PyTorch: logits agree within {self.aligned:.1e} of their range over {self.tokens} tokens, every layer's"
            f" input within {self.inputs:.1e}, same likeliest tokens"
        )
        yield (
            f"PyTorch without alignment: logits within {self.free:.1e}, likeliest token the same at"
            f" {self.free_choice:.0%} of the positions"
        )
        yield (
            f"PyTorch with activations of 32 bits: logits within {self.floats:.1e}, likeliest token the same at"
            f" {self.floats_choice:.0%} of the positions"
        )
        if self.cache is not None:
            yield self.cache.line()


class _Aligner:
    """Hands PyTorch the compiled model's inputs of quantisers, row by row, and remembers how far off its own were."""

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        self.rows: dict[int, list[np.ndarray]] = {}
        self.worst = 0.0

    def record(self, op: Op, operands: Sequence[np.ndarray], results: Sequence[np.ndarray]) -> None:
        """Observer of the interpreter: keep what is quantised in this call."""
        if op.name == "quantize":
            x = operands[0]
            self.rows.setdefault(x.shape[-1], []).append(x.reshape(-1, x.shape[-1]))

    def __call__(self, x: Tensor, outputs: int) -> Tensor:
        """The recorded rows nearest to those of x [n, K]; for the head x itself."""
        own = x.detach().numpy().astype(np.float64)
        known = np.concatenate(self.rows[own.shape[1]])
        distances = np.abs(own[:, None, :] - known[None].astype(np.float64)).max(axis=-1)
        nearest = distances.argmin(axis=1)
        size = np.maximum(np.abs(own).max(axis=1), 1e-5)
        self.worst = max(self.worst, float((distances[np.arange(len(own)), nearest] / size).max()))
        return x if outputs == self.vocabulary else torch.from_numpy(np.ascontiguousarray(known[nearest]))


def compare(reference: Reference, module: Module, tokens: Sequence[int], *, loops: int | None = None) -> Agreement:
    """Run ``tokens`` through PyTorch and the interpreter, one by one.

    Args:
        reference: the model in PyTorch.
        module: its imported IR (graph ``main``), before any pass.
    """
    plain = _plain(module)
    vocabulary = int(module.entry("main").results[0].type.shape[-1])
    aligner = _Aligner(vocabulary)
    compiled = Session(plain, loops=loops, observe=aligner.record)
    aligned, free, floats = (reference.session(loops) for _ in range(3))
    worst = {"aligned": 0.0, "free": 0.0, "floats": 0.0}
    equal = {"aligned": 0, "free": 0, "floats": 0}
    for token in tokens:
        aligner.rows.clear()
        expected = compiled.forward([token])
        scale = float(np.ptp(expected)) or 1.0
        with reference.hooked(aligner):
            near = aligned.step(token)
        with reference.unrounded():
            unrounded = floats.step(token)
        for name, logits in (("aligned", near), ("free", free.step(token)), ("floats", unrounded)):
            worst[name] = max(worst[name], float(np.abs(logits - expected).max()) / scale)
            equal[name] += int(np.argmax(logits) == np.argmax(expected))
    count = len(tokens)
    return Agreement(
        count,
        worst["aligned"],
        aligner.worst,
        equal["aligned"] == count,
        worst["free"],
        equal["free"] / count,
        worst["floats"],
        equal["floats"] / count,
    )


def compare_caches(module: Module, cache: str, tokens: Sequence[int]) -> CacheDifference | None:
    """Run ``tokens`` through the interpreter with caches of float32 and of ``cache``; None without caches.

    Args:
        module: the model's imported IR with its own caches, before any pass.
    """
    if not any(op.name == "cached_attention" for graph in module.graphs.values() for op in walk(graph.ops)):
        return None
    if cache == CACHE_TYPES[0]:
        return CacheDifference(cache)
    own, rounded = Session(_plain(module)), Session(_plain(with_caches(module, cache)))
    worst, equal = 0.0, 0
    for token in tokens:
        expected, found = own.forward([token]), rounded.forward([token])
        worst = max(worst, float(np.abs(found - expected).max()) / (float(np.ptp(expected)) or 1.0))
        equal += int(np.argmax(found) == np.argmax(expected))
    return CacheDifference(cache, worst, equal / len(tokens))


def _plain(module: Module) -> Module:
    """Without optional passes there is one quantiser per product, as in PyTorch."""
    return pipeline.run(module, pipeline.passes(without=sorted(pipeline.OPTIONAL)))[0]
