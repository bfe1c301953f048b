"""Tensor types: element type, shape and storage layout."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import numpy as np

from chimerac.compiler.errors import InternalError

#: The one symbolic dimension: the tokens of a forward call, 1 to the module's block.
TOKENS = "T"
Dim = int | str

DTYPES: dict[str, np.dtype[np.generic]] = {
    "f32": np.dtype(np.float32),
    "f16": np.dtype(np.float16),
    "bf16": np.dtype(np.uint16),  # numpy has no such type: the bits
    "i32": np.dtype(np.int32),
    "i8": np.dtype(np.int8),
    "u8": np.dtype(np.uint8),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_TEXT = re.compile(r"(\w+)\[([\w, ]*)\](?:<([\w.]+)>)?")


@dataclass(frozen=True)
class TensorType:
    """``f32[T,256]`` or, for weights packed for a target, ``u8[8192]<t2.r8>``.

    Attributes:
        dtype: key of ``DTYPES``.
        shape: extents; ``"T"`` stands for the tokens of the call.
        layout: name of a packed layout, empty for plain row-major order.
    """

    dtype: str
    shape: tuple[Dim, ...]
    layout: str = ""

    def __str__(self) -> str:
        layout = f"<{self.layout}>" if self.layout else ""
        return f"{self.dtype}[{','.join(map(str, self.shape))}]{layout}"

    @staticmethod
    def parse(text: str) -> TensorType:
        """The type that prints as ``text``."""
        match = _TEXT.fullmatch(text.strip())
        if match is None or match[1] not in DTYPES:
            raise InternalError(f"not a tensor type: {text!r}")
        dims = [part.strip() for part in match[2].split(",") if part.strip()]
        if not all(d.isdecimal() or d == TOKENS for d in dims):
            raise InternalError(f"not a tensor type: {text!r}")
        return TensorType(match[1], tuple(int(d) if d.isdecimal() else d for d in dims), match[3] or "")

    @staticmethod
    def of(array: np.ndarray) -> TensorType:
        """The type of a numpy array."""
        if array.dtype not in _NAMES:
            raise InternalError(f"there is no tensor type of {array.dtype}")
        return TensorType(_NAMES[array.dtype], tuple(array.shape))

    @property
    def numpy(self) -> np.dtype[np.generic]:
        return DTYPES[self.dtype]

    @property
    def is_dynamic(self) -> bool:
        """Whether the shape depends on the number of tokens."""
        return TOKENS in self.shape

    def bind(self, tokens: int) -> TensorType:
        """The same type with the token dimension fixed."""
        return replace(self, shape=tuple(tokens if d == TOKENS else d for d in self.shape))

    def elements(self, tokens: int = 1) -> int:
        """Number of elements when a call has ``tokens`` tokens."""
        return math.prod(tokens if isinstance(d, str) else d for d in self.shape)

    def bytes(self, tokens: int = 1) -> int:
        """Size in memory when a call has ``tokens`` tokens."""
        return self.elements(tokens) * self.numpy.itemsize

    def with_shape(self, shape: tuple[Dim, ...]) -> TensorType:
        return replace(self, shape=shape, layout="")


def f32(*shape: Dim) -> TensorType:
    """Shorthand for a float32 type."""
    return TensorType("f32", shape)


def i32(*shape: Dim) -> TensorType:
    """Shorthand for an int32 type."""
    return TensorType("i32", shape)
