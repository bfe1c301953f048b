"""The 64-bit hash of logits and states that every runtime gives."""

from __future__ import annotations

import numpy as np

START = 0xCBF29CE484222325  #: hash of no data
_MASK = (1 << 64) - 1
_PIECE = 1 << 16  #: words that are Python numbers at a time


def hash_words(data: bytes, value: int = START) -> int:
    """Hash over little-endian 64-bit words, the last filled up with zeros.

    ``value`` is the hash of the data before this, which had whole words.
    """
    words = np.frombuffer(data.ljust(-(-len(data) // 8) * 8, b"\0"), "<u8")
    for start in range(0, len(words), _PIECE):
        for word in words[start : start + _PIECE].tolist():
            value = ((value ^ word) * 0x9E3779B97F4A7C15) & _MASK
            value ^= value >> 32
    return value
