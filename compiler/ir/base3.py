"""Five trits in a byte: base 3, as a binary fraction from which each digit is one multiplication by 3.

The codes 0, 1, 2 of five trits, most significant first, are a number v below 243, stored as ``ceil(256 · v / 243)``.
Its first digit is ``3 · byte >> 8``, and ``3 · byte & 255`` is what the others are in, in the same way.
"""

from __future__ import annotations

import numpy as np

DIGITS = 5

#: byte of each number below 243
_BYTES = np.array([-(-256 * v // 243) for v in range(3**DIGITS)], np.uint8)


def digits(values: np.ndarray) -> list[np.ndarray]:
    """The five codes of each byte: u8 arrays of the shape of ``values``, by the multiplications that kernels use."""
    found = []
    fraction = values.astype(np.uint16)
    for _ in range(DIGITS):
        fraction = fraction * np.uint16(3)
        found.append((fraction >> 8).astype(np.uint8))
        fraction &= np.uint16(255)
    return found


_TABLE = np.array(digits(np.arange(256, dtype=np.uint8)))  #: [digit, byte]


def encode(words: np.ndarray) -> np.ndarray:
    """Codes u32[..., 5n], each word being those of 4 channels, to u32[..., n]: channels stay where they are."""
    fives = words.reshape(*words.shape[:-1], -1, DIGITS)
    value = fives[..., 0].copy()
    for digit in range(1, DIGITS):
        value *= np.uint32(3)  # bytes stay below 243: nothing is carried into the next one
        value += fives[..., digit]
    return _BYTES[value.view(np.uint8)].view(np.uint32)


def decode(packed: np.ndarray) -> np.ndarray:
    """What ``encode`` was given: u32[..., n] to u32[..., 5n]."""
    data = np.ascontiguousarray(packed).view(np.uint8)
    words = np.empty((*packed.shape, DIGITS), np.uint32)
    for digit in range(DIGITS):
        words[..., digit] = np.take(_TABLE[digit], data).view(np.uint32)
    return words.reshape(*packed.shape[:-1], -1)
