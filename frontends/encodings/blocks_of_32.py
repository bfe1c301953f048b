"""llama.cpp's first encodings, blocks of 32 weights: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.

Low nibbles are the first 16 weights, high nibbles the others. Those named _0 have a scale and codes around 0, those
named _1 a scale and a least number. A fifth bit of each weight lies apart, in four bytes.
"""

from __future__ import annotations

import numpy as np

from chimerac.frontends.encodings.encoding import Encoding, bit_planes, halves, of_codes

Pair = tuple[np.ndarray, np.ndarray]


def _nibbles(blocks: np.ndarray, start: int) -> np.ndarray:
    return bit_planes(blocks[:, start : start + 16], 4).reshape(-1, 32)


def _fives(blocks: np.ndarray, start: int) -> np.ndarray:
    """Codes of five bits, 0 to 31, of which the highest come first."""
    high = np.unpackbits(blocks[:, start : start + 4], axis=1, bitorder="little")
    codes: np.ndarray = _nibbles(blocks, start + 4) | high << np.uint8(4)
    return codes


def _q4_0(blocks: np.ndarray) -> Pair:
    return _nibbles(blocks, 2).view(np.int8) - np.int8(8), halves(blocks, 0)[:, 0]


def _q5_0(blocks: np.ndarray) -> Pair:
    return _fives(blocks, 2).view(np.int8) - np.int8(16), halves(blocks, 0)[:, 0]


def _q8_0(blocks: np.ndarray) -> Pair:
    return blocks[:, 2:].view(np.int8), halves(blocks, 0)[:, 0]


def _scaled(codes: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    scales = halves(blocks, 0, 2).astype(np.float32)
    numbers: np.ndarray = codes * scales[:, :1] + scales[:, 1:]
    return numbers


def _q4_1(blocks: np.ndarray) -> np.ndarray:
    return _scaled(_nibbles(blocks, 4), blocks)


def _q5_1(blocks: np.ndarray) -> np.ndarray:
    return _scaled(_fives(blocks, 4), blocks)


Q4_0 = of_codes("Q4_0", 32, 18, _q4_0, most=7)
Q4_1 = Encoding("Q4_1", 32, 20, _q4_1)
Q5_0 = of_codes("Q5_0", 32, 22, _q5_0, most=15)
Q5_1 = Encoding("Q5_1", 32, 24, _q5_1)
Q8_0 = of_codes("Q8_0", 32, 34, _q8_0, most=127)
