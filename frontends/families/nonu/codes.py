"""Embeddings as codes: each number one of 10^7 levels between -c and c, 3 bytes.

Levels are computed in float64 and kept as float32: float32 arithmetic takes 464,946 of the 10^7 codes for a neighbour.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def codes_of(x: np.ndarray, levels: int, limit: float) -> np.ndarray:
    """The nearest codes int32 of numbers, which are clamped to ±limit; halves to even."""
    scaled = (np.clip(x.astype(np.float64), -limit, limit) + limit) * ((levels - 1) / (2 * limit))
    return np.rint(scaled).astype(np.int32)


def values_of(codes: np.ndarray, levels: int, limit: float) -> np.ndarray:
    """The float32 numbers -c + q · 2c / (levels - 1) of codes q."""
    return (codes.astype(np.float64) * (2 * limit / (levels - 1)) - limit).astype(np.float32)


def pack(codes: np.ndarray) -> np.ndarray:
    """Codes below 2^24 in 3 bytes, the lowest first: u8[..., 3]."""
    return np.ascontiguousarray(codes.astype("<u4")[..., None].view(np.uint8)[..., :3])


def unpack(packed: np.ndarray) -> np.ndarray:
    """Codes int32 of u8[..., 3]."""
    wide = packed.astype(np.int32)
    found: np.ndarray = wide[..., 0] | wide[..., 1] << 8 | wide[..., 2] << 16
    return found


def rounded(x: Tensor, levels: int, limit: float) -> Tensor:
    """The values of the nearest codes; the gradient is that of the identity within ±limit, and 0 beyond."""
    within = x.clamp(-limit, limit)
    wide = within.detach().double()
    codes = torch.round((wide + limit) * ((levels - 1) / (2 * limit)))
    values = (codes * (2 * limit / (levels - 1)) - limit).to(x.dtype)
    return values + (within - within.detach())
