"""Ternary weights in two bits: TQ2_0 of llama.cpp, Q2_0 in both of its group sizes, PQ2_0.

A code c stands for c - 1 times the scale of its block. TQ2_0 spreads a byte over four weights that are 32 apart; the
others hold four neighbours in a byte. c = 3 is +2: no ternary model has it, but the formats allow it.
"""

from __future__ import annotations

import numpy as np

from chimerac.frontends.encodings.encoding import Codes, Encoding, bit_planes, halves, of_codes

#: byte → the codes of its four weights, lowest bits first
_FOUR = np.stack([np.arange(256) >> shift & 3 for shift in (0, 2, 4, 6)], axis=-1).astype(np.int8) - np.int8(1)
_FOUR_WORDS = np.ascontiguousarray(_FOUR).view(np.uint32).reshape(256)


def _tq2_0(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    planes = bit_planes(blocks[:, :64].reshape(-1, 32), 2)  # [2n, 4, 32]: half, plane, byte
    return planes.view(np.int8).reshape(-1, 256) - np.int8(1), halves(blocks, 64)[:, 0]


def _neighbours(weights: int) -> Codes:
    def codes(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        packed = np.ascontiguousarray(blocks[:, 2 : 2 + weights // 4])
        return np.take(_FOUR_WORDS, packed).view(np.int8).reshape(-1, weights), halves(blocks, 0)[:, 0]

    return codes


def q2_0(name: str, weights: int) -> Encoding:
    """A float16 scale, then two bits for each weight."""
    return of_codes(name, weights, 2 + weights // 4, _neighbours(weights), most=2)


TQ2_0 = of_codes("TQ2_0", 256, 66, _tq2_0, most=2)
Q2_0_64 = q2_0("Q2_0 (groups of 64)", 64)
Q2_0_128 = q2_0("Q2_0 (groups of 128)", 128)
PQ2_0 = q2_0("PQ2_0", 128)
