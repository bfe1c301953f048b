"""The memory that span knots of a model read: vectors of bits that a session is told."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.errors import BundleError
from chimerac.runtime.sessions.guard import Guard

Vectors = NDArray[np.uint8]


def check_width(vectors: Vectors, width: int) -> None:
    """Raise BundleError CHM421 for a model that reads no memory, CHM420 for vectors of another size than its."""
    if not width:
        raise BundleError("CHM421", "the model reads no memory", hint="docs/spans.md says which do")
    if len(vectors) and vectors.shape[1] != width:
        raise BundleError("CHM420", f"vectors of this model have {width} bytes, not {vectors.shape[1]}")


class ReadsMemory:
    """What sessions do about a memory; those that say no more have none."""

    _guard: Guard

    def set_memory(self, vectors: Vectors | None) -> None:
        """Let span knots read a memory where a block of tokens begins (docs/spans.md), or none.

        The tokens that are run from now on are the sketch that it is looked up by. It stays through ``reset`` and
        ``restore``.

        Args:
            vectors: uint8 [count, bytes], each with the model's number of bits, lowest bit of the first byte first; at
                most 32,768.

        Raises:
            BundleError: CHM420, vectors of another size or type, or too many; CHM421, a model that reads no memory, or
                a target whose sessions do not yet.
        """
        known = isinstance(vectors, np.ndarray) and vectors.dtype == np.uint8 and vectors.ndim == 2
        if vectors is not None and not known:
            raise BundleError("CHM420", "a memory is an array of uint8 [count, bytes]")
        with self._guard.call(changes=True):
            self._set_memory(np.zeros((0, 0), np.uint8) if vectors is None else np.ascontiguousarray(vectors))

    def _set_memory(self, vectors: Vectors) -> None:
        raise BundleError("CHM421", "sessions of this target read no memory", hint="build for another target")
