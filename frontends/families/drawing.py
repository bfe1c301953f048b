"""Random weights whose numbers depend on the seed and the tensor's name only, not on threads or order."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import numpy as np


def generator_of(seed: int, name: str) -> np.random.Generator:
    """The generator of one tensor."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return np.random.Generator(np.random.Philox(key=[seed, int.from_bytes(digest, "little")]))


def normal_parts(
    generator: np.random.Generator, size: tuple[int, ...], deviation: float, elements: int
) -> Iterator[np.ndarray]:
    """N(0, deviation) of a size, float32, in parts along the first axis of about ``elements`` numbers."""
    step = max(1, elements // max(1, math.prod(size[1:])))
    for start in range(0, size[0], step):
        # the generator goes on where it was, so the numbers do not depend on the size of the parts
        yield generator.normal(0, deviation, (min(step, size[0] - start), *size[1:])).astype(np.float32)


def uniform_parts(
    generator: np.random.Generator, size: tuple[int, ...], bound: float, elements: int
) -> Iterator[np.ndarray]:
    """Numbers from -bound to bound, as ``normal_parts``."""
    step = max(1, elements // max(1, math.prod(size[1:])))
    for start in range(0, size[0], step):
        yield generator.uniform(-bound, bound, (min(step, size[0] - start), *size[1:])).astype(np.float32)
