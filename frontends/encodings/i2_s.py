"""I2_S of BitNet's fork of llama.cpp: trits in two bits with one float32 scale for the whole tensor.

Byte i of the 32 bytes of a block holds weights i, i + 32, i + 64 and i + 96, from the high bits down. The tensor's last
32 bytes begin with the scale. Arm builds of its makers write blocks of 64, under the same name and in as many bytes.
"""

from __future__ import annotations

import numpy as np

from chimerac.frontends.encodings.encoding import bit_planes, of_codes

TAIL = 32  #: bytes after the blocks


def _codes(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes, 2 where no trit is stored, and ones: the scale is the tensor's."""
    planes = bit_planes(blocks, 2)[:, ::-1]
    return planes.view(np.int8).reshape(-1, 128) - np.int8(1), np.ones(len(blocks), np.float16)


I2_S = of_codes("I2_S", 128, 32, _codes, most=2)
