"""What caches of keys and values hold of a row: float32, float16, or codes of 8 or 4 bits with scales.

Codes have a float16 scale for each ``CODE_BLOCK`` channels; a number is its code times the scale, exactly in float32.
Those of 4 bits are packed: byte i of each 32 has channel i of a block in its low half, and of the next in its high one.

Of rows that become codes of 4 bits, and of queries for them, each block is transformed before (``rotated``), which
spreads single large channels over all of a block (arXiv 2404.00456) and leaves dot products as they are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chimerac.compiler.ir import numpy_math
from chimerac.compiler.ir.ops.definition import blocks, static
from chimerac.compiler.ir.ops.norms import pad_last
from chimerac.compiler.ir.ops.rotations import walsh_hadamard
from chimerac.compiler.ir.types import TensorType

F32 = np.float32

LARGEST_HALF = 65504.0  #: caches of fp16 hold what is larger as this
CODE_BLOCK = 32  #: channels of a row that share a scale
LEAST_SCALE = 2.0**-24  #: the smallest fp16 number above 0
LARGEST_NIBBLE = 8  #: magnitude of the codes of 4 bits, which are -8 to 7


def types_of(form: str, kept: int, rows: int, width: int) -> tuple[TensorType, ...]:
    """Types of a cache of so many heads, rows and channels, and of its scales if it has some.

    Args:
        form: ``"f32"``, ``"f16"``, ``"int8"`` or ``"int4"``.
    """
    scales = TensorType("f16", (kept, rows, blocks(width, CODE_BLOCK)))
    if form == "int8":
        return TensorType("i8", (kept, rows, width)), scales
    if form == "int4":
        return TensorType("u8", (kept, rows, bytes_of_nibbles(width))), scales
    return (TensorType(form, (kept, rows, width)),)


def types_like(form: str, cache: TensorType) -> tuple[TensorType, ...]:
    """``types_of`` a cache in place of this one of floats."""
    kept, rows, width = (static(dim, "a cache") for dim in cache.shape)
    return types_of(form, kept, rows, width)


def bytes_of_nibbles(width: int) -> int:
    """Of a row of codes of 4 bits: two blocks share 32 bytes."""
    return blocks(width, 2 * CODE_BLOCK) * CODE_BLOCK


def stored(rows: np.ndarray, dtype: np.dtype[np.generic]) -> np.ndarray:
    """Keys or values as a cache of floats of that type holds them."""
    if dtype == np.float16:
        bounded = numpy_math.minimum_f32(rows, F32(LARGEST_HALF))
        return numpy_math.maximum_f32(bounded, F32(-LARGEST_HALF)).astype(np.float16)
    return rows


def coded(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keys or values [..., d] as an int8 cache holds them: codes i8 [..., d], scales f16 [..., blocks(d, CODE_BLOCK)].

    A scale is the largest magnitude by 127, rounded to fp16, a code the number by the scale, rounded half to even,
    within ±127. Total: NaN becomes -127 and is ignored by the maximum.
    """
    parts = _parts(rows)
    magnitude = np.abs(parts)
    largest = np.where(np.isnan(magnitude), F32(0), magnitude).max(axis=-1) / F32(127)
    scales = np.clip(largest, F32(LEAST_SCALE), F32(LARGEST_HALF)).astype(np.float16)
    return _whole(_codes(parts, scales, -127, 127), rows.shape[-1]), scales


def decoded(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """What ``coded`` rows [..., d] stand for."""
    wide = np.repeat(scales.astype(F32), CODE_BLOCK, axis=-1)[..., : codes.shape[-1]]
    return np.asarray(codes.astype(F32) * wide)


def spans(width: int) -> Iterator[tuple[int, int, int]]:
    """Channels of a row, from one to before another, with transforms of so many: whole blocks, then powers of two."""
    start, size = 0, CODE_BLOCK
    while start < width:
        while size > width - start:
            size //= 2
        extent = (width - start) // size * size
        yield start, start + extent, size
        start += extent


def rotated(rows: np.ndarray) -> np.ndarray:
    """Rows [..., d] after Walsh-Hadamard transforms of their blocks; it is its own inverse, but for rounding."""
    parts = [walsh_hadamard(rows[..., start:stop], size) for start, stop, size in spans(rows.shape[-1])]
    return np.concatenate(parts, axis=-1)


def coded4(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same as an int4 cache holds them: u8 [..., bytes_of_nibbles(d)], scales f16 [..., blocks(d, CODE_BLOCK)].

    The number of the largest magnitude is -8 times the scale, which is negative where that number is positive (and no
    negative one is as large), rounded to fp16. Codes are rounded half to even, within -8 and 7. NaN becomes -8.
    """
    parts = _parts(rows)
    high, low = np.fmax.reduce(parts, axis=-1, initial=0), np.fmin.reduce(parts, axis=-1, initial=0)
    sizes = np.clip(np.fmax(high, -low) / F32(LARGEST_NIBBLE), F32(LEAST_SCALE), F32(LARGEST_HALF))
    scales = np.where(high > -low, -sizes, sizes).astype(np.float16)
    return _packed(_codes(parts, scales, -LARGEST_NIBBLE, LARGEST_NIBBLE - 1)), scales


def unpacked4(packed: np.ndarray) -> np.ndarray:
    """Codes i8 [..., n, CODE_BLOCK] of bytes, two blocks for each 32 of them: the last may be of zeros."""
    pairs = packed.view(np.int8).reshape(*packed.shape[:-1], -1, 1, CODE_BLOCK)
    both = np.concatenate([pairs << 4 >> 4, pairs >> 4], axis=-2)
    return np.ascontiguousarray(both.reshape(*packed.shape[:-1], -1, CODE_BLOCK))


def _packed(codes: np.ndarray) -> np.ndarray:
    """Bytes of codes [..., blocks, CODE_BLOCK]."""
    odd = codes.shape[-2] % 2
    codes = np.concatenate([codes, np.zeros_like(codes[..., :odd, :])], axis=-2).view(np.uint8)
    found = codes[..., 0::2, :] & 15 | codes[..., 1::2, :] << 4
    return np.ascontiguousarray(found.reshape(*found.shape[:-2], -1))


def _parts(rows: np.ndarray) -> np.ndarray:
    """[..., d] -> [..., blocks, CODE_BLOCK], with zeros beyond d."""
    return pad_last(rows, CODE_BLOCK).reshape(*rows.shape[:-1], -1, CODE_BLOCK)


def _whole(parts: np.ndarray, width: int) -> np.ndarray:
    """The inverse of ``_parts``."""
    return np.ascontiguousarray(parts.reshape(*parts.shape[:-2], -1)[..., :width])


def _codes(parts: np.ndarray, scales: np.ndarray, least: int, largest: int) -> np.ndarray:
    """Numbers by the scales of their blocks, as i8."""
    with np.errstate(invalid="ignore", over="ignore"):
        rounded = np.rint(parts / scales.astype(F32)[..., None])
    return np.minimum(np.where(rounded > F32(least), rounded, F32(least)), F32(largest)).astype(np.int8)
