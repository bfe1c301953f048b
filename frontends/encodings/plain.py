"""Float numbers, one after the other."""

from __future__ import annotations

import numpy as np

from chimerac.frontends.encodings.encoding import Encoding


def _f32(blocks: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(blocks).view("<f4")


def _f16(blocks: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(blocks).view("<f2").astype(np.float32)


def _bf16(blocks: np.ndarray) -> np.ndarray:
    return (np.ascontiguousarray(blocks).view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)


def _f64(blocks: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(blocks).view("<f8").astype(np.float32)


F32 = Encoding("F32", 1, 4, _f32)
F16 = Encoding("F16", 1, 2, _f16)
BF16 = Encoding("BF16", 1, 2, _bf16)
F64 = Encoding("F64", 1, 8, _f64)  # rounded to float32
