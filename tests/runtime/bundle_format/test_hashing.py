"""The hash of logits and states: its definition, and that data may come in pieces."""

from __future__ import annotations

import numpy as np
import pytest

from chimerac.runtime.bundle_format import hashing
from chimerac.runtime.bundle_format.hashing import hash_words


def slow(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for start in range(0, len(data), 8):
        word = int.from_bytes(data[start : start + 8], "little")
        value = (value ^ word) * 0x9E3779B97F4A7C15 % 2**64
        value ^= value >> 32
    return value


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 100])
def test_the_definition(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(size).bytes(size)
    assert hash_words(data) == slow(data)
    monkeypatch.setattr(hashing, "_PIECE", 3)
    assert hash_words(data) == slow(data)


def test_one_piece_after_the_other() -> None:
    data = np.random.default_rng(1).bytes(40)
    assert hash_words(data[16:], hash_words(data[:16])) == hash_words(data)
