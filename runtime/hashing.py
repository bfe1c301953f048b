"""The 64-bit hash of logits and states that every runtime gives."""

from __future__ import annotations

import numpy as np

_MASK = (1 << 64) - 1


def hash_words(data: bytes) -> int:
    """Hash over little-endian 64-bit words, the last filled up with zeros."""
    value = 0xCBF29CE484222325
    for word in np.frombuffer(data.ljust(-(-len(data) // 8) * 8, b"\0"), "<u8").tolist():
        value = ((value ^ word) * 0x9E3779B97F4A7C15) & _MASK
        value ^= value >> 32
    return value
