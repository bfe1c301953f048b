"""llama.cpp's K encodings, blocks of 256 weights: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K.

A block is made of 8 or 16 smaller ones, whose scales are small integers times the block's float16 scale. Products and
sums are rounded in the order in which llama.cpp rounds them.
"""

from __future__ import annotations

import numpy as np

from chimerac.frontends.encodings.encoding import Encoding, bit_planes, halves


def _floats(blocks: np.ndarray, start: int) -> np.ndarray:
    """A float16 number of each block as f32 [n, 1]."""
    found: np.ndarray = halves(blocks, start).astype(np.float32)
    return found


def _rows(numbers: np.ndarray) -> np.ndarray:
    return numbers.reshape(-1, 256)


def _q2_k(blocks: np.ndarray) -> np.ndarray:
    codes = bit_planes(blocks[:, 16:80].reshape(-1, 32), 2).reshape(-1, 16, 16)  # half, plane, 2 × 16
    scales, least = blocks[:, :16] & 15, blocks[:, :16] >> 4
    d, m = _floats(blocks, 80) * scales, _floats(blocks, 82) * least
    return _rows(d[..., None] * codes - m[..., None])


def _q3_k(blocks: np.ndarray) -> np.ndarray:
    low = bit_planes(blocks[:, 32:96].reshape(-1, 32), 2).reshape(-1, 8, 32)
    high = bit_planes(blocks[:, :32], 1)  # plane p is of the 32 weights from 32 p
    codes = (low | high << np.uint8(2)).view(np.int8) - np.int8(4)
    packed = blocks[:, 96:108]
    fours = bit_planes(packed[:, :8], 4).reshape(-1, 16)
    twos = np.concatenate([packed[:, 8:] >> shift & 3 for shift in (0, 2, 4, 6)], axis=1)
    scales = (fours | twos << np.uint8(4)).view(np.int8) - np.int8(32)
    d = _floats(blocks, 108) * scales
    return _rows(d[..., None] * codes.reshape(-1, 16, 16))


def _sixes(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eight scales and eight least numbers of six bits each, in 12 bytes."""
    first, second, rest = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([first & 63, rest & 15 | first >> 6 << 4], axis=1)
    least = np.concatenate([second & 63, rest >> 4 | second >> 6 << 4], axis=1)
    return scales, least


def _with_least(blocks: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Codes u8 [n, 8, 32] of Q4_K and Q5_K, which begin alike."""
    scales, least = _sixes(blocks[:, 4:16])
    d, m = _floats(blocks, 0) * scales, _floats(blocks, 2) * least
    return _rows(d[..., None] * codes - m[..., None])


def _q4_k(blocks: np.ndarray) -> np.ndarray:
    return _with_least(blocks, bit_planes(blocks[:, 16:].reshape(-1, 32), 4).reshape(-1, 8, 32))


def _q5_k(blocks: np.ndarray) -> np.ndarray:
    low = bit_planes(blocks[:, 48:].reshape(-1, 32), 4).reshape(-1, 8, 32)
    return _with_least(blocks, low | bit_planes(blocks[:, 16:48], 1) << np.uint8(4))


def _q6_k(blocks: np.ndarray) -> np.ndarray:
    # of each half of 128: 64 bytes whose low nibbles are 64 weights and whose high ones 64 more; 32 bytes of high bits
    low = bit_planes(blocks[:, :128].reshape(-1, 64), 4).reshape(-1, 2, 4, 32)
    high = bit_planes(blocks[:, 128:192].reshape(-1, 32), 2).reshape(-1, 2, 4, 32)
    codes = (low | high << np.uint8(4)).view(np.int8) - np.int8(32)
    d = _floats(blocks, 208) * blocks[:, 192:208].view(np.int8)
    return _rows(d[..., None] * codes.reshape(-1, 16, 16))


Q2_K = Encoding("Q2_K", 256, 84, _q2_k)
Q3_K = Encoding("Q3_K", 256, 110, _q3_k)
Q4_K = Encoding("Q4_K", 256, 144, _q4_k)
Q5_K = Encoding("Q5_K", 256, 176, _q5_k)
Q6_K = Encoding("Q6_K", 256, 210, _q6_k)
