"""Q1_0: one bit for each weight, plus or minus the scale of its block."""

from __future__ import annotations

import numpy as np

from chimerac.frontends.encodings.encoding import halves, of_codes


def _q1_0(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    bits = np.unpackbits(blocks[:, 2:18], axis=1, bitorder="little").view(np.int8)
    return bits * np.int8(2) - np.int8(1), halves(blocks, 0)[:, 0]


Q1_0 = of_codes("Q1_0", 128, 18, _q1_0)
