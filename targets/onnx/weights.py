"""Packs small-integer weights as MatMulNBits reads them."""

from __future__ import annotations

import numpy as np


def matmul_block(block: int) -> int:
    """The block size that MatMulNBits is told: a power of two from 16 up that holds a block."""
    return max(16, 1 << (block - 1).bit_length())


def pack_matrix(weights: np.ndarray, block: int, bits: int) -> np.ndarray:
    """Weights i8[N, K] as operand B of one MatMulNBits, u8[N, blocks, bytes]; ``block`` is a power of two."""
    return np.concatenate(pack_blocks(weights, block, bits), axis=-2)


def pack_blocks(weights: np.ndarray, block: int, bits: int) -> list[np.ndarray]:
    """Weights of each block of columns, as operand B of a MatMulNBits.

    Codes are ``weight + 2**(bits - 1)``, so that MatMulNBits needs no zero points; lowest bits first; missing columns
    have the weight 0.

    Args:
        weights: i8[..., N, K], within the range of ``bits``.

    Returns:
        u8[..., N, 1, bytes] for each block.
    """
    size, zero = matmul_block(block), 1 << (bits - 1)
    *lead, rows, columns = weights.shape
    packed = []
    for start in range(0, columns, block):
        part = weights[..., start : start + block]
        codes = np.full((*lead, rows, size), zero, np.uint8)
        codes[..., : part.shape[-1]] = part.astype(np.int16) + zero
        if bits == 2:
            four = codes.reshape(*lead, rows, size // 4, 4)
            codes = four[..., 0] | four[..., 1] << 2 | four[..., 2] << 4 | four[..., 3] << 6
        packed.append(np.ascontiguousarray(codes[..., None, :]))
    return packed
