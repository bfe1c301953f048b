"""What an encoding is: blocks of weights of a row, one after the other, each of as many bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

#: Blocks u8 [n, size] → float32 [n, weights].
Numbers = Callable[[np.ndarray], np.ndarray]
#: Blocks u8 [n, size] → codes i8 [n, weights] and scales f16 [n]; a weight is its code times its scale.
Codes = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

_PIECE = 1 << 16  #: weights decoded at a time, so that temporaries stay in the cache


@dataclass(frozen=True)
class Encoding:
    """One way to store the rows of a tensor.

    Attributes:
        name: as its makers call it.
        weights: of a block.
        size: bytes of a block.
        numbers: what blocks hold, as float32.
        codes: the same as integers with a scale for each block; None where a block is more than that.
        most: the largest code that blocks may have; ternary codes are -1, 0 and 1.
    """

    name: str
    weights: int
    size: int
    numbers: Numbers
    codes: Codes | None = None
    most: int = 1

    def row_bytes(self, columns: int) -> int:
        """Bytes of a row, which has whole blocks."""
        assert columns % self.weights == 0, f"{columns} columns in {self.name}"
        return columns // self.weights * self.size

    def decode(self, data: np.ndarray) -> np.ndarray:
        """Rows u8 [R, bytes] to float32 [R, K]."""
        blocks = self._blocks(data)
        out = np.empty((len(blocks), self.weights), np.float32)
        with np.errstate(all="ignore"):  # scales that are no numbers are found where weights are checked
            for part in self._pieces(len(blocks)):
                out[part] = self.numbers(blocks[part])
        return out.reshape(len(data), data.shape[1] // self.size * self.weights)

    def integers(self, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows u8 [R, bytes] to codes i8 [R, K] and scales f16 [R, K / weights]."""
        assert self.codes is not None, f"{self.name} has no codes"
        blocks, count = self._blocks(data), data.shape[1] // self.size
        codes, scales = np.empty((len(blocks), self.weights), np.int8), np.empty(len(blocks), np.float16)
        for part in self._pieces(len(blocks)):
            codes[part], scales[part] = self.codes(blocks[part])
        return codes.reshape(len(data), count * self.weights), scales.reshape(len(data), count)

    def _blocks(self, data: np.ndarray) -> np.ndarray:
        assert data.ndim == 2
        assert data.shape[1] % self.size == 0
        return data.reshape(data.shape[0] * (data.shape[1] // self.size), self.size)

    def _pieces(self, blocks: int) -> list[slice]:
        step = max(1, _PIECE // self.weights)
        return [slice(start, start + step) for start in range(0, blocks, step)]


def of_codes(name: str, weights: int, size: int, codes: Codes, most: int = 1) -> Encoding:
    """An encoding whose blocks are codes and one scale."""

    def numbers(blocks: np.ndarray) -> np.ndarray:
        found, scales = codes(blocks)
        product: np.ndarray = found * scales.astype(np.float32)[:, None]
        return product

    return Encoding(name, weights, size, numbers, codes, most)


def halves(blocks: np.ndarray, start: int, count: int = 1) -> np.ndarray:
    """``count`` float16 numbers from byte ``start`` of each block: f16 [n, count]."""
    return np.ascontiguousarray(blocks[:, start : start + 2 * count]).view("<f2")


def bit_planes(data: np.ndarray, bits: int) -> np.ndarray:
    """Bytes u8 [n, m], m a multiple of 8, as their 8 / bits fields, lowest first: u8 [n, fields, m]."""
    words = np.ascontiguousarray(data).view("<u8")  # numpy shifts these several times faster than bytes
    fields = 8 // bits
    mask = np.uint64(0x0101010101010101 * ((1 << bits) - 1))
    out = np.empty((len(data), fields, words.shape[1]), np.uint64)
    for field in range(fields):
        np.bitwise_and(words >> np.uint64(field * bits), mask, out=out[:, field])
    return out.view(np.uint8)
