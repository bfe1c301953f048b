"""Ternary weights in base 3, five to a byte: TQ1_0 of llama.cpp, PTQ1_0.

A byte is a fraction of 256, as in compiler/ir/base3.py: digit n in base 3 is the first one of byte · 3ⁿ mod 256. The
digits of a run of bytes lie position by position: the first digits of all its bytes, then the second ones. The last
bytes of a block hold four digits each, not five.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimerac.frontends.encodings.encoding import Codes, halves, of_codes

#: The least fractions of 256 whose first digit is 1, and 2.
_ONE, _TWO = np.uint8(86), np.uint8(171)


def _runs(weights: int, runs: Sequence[tuple[int, int]]) -> Codes:
    """Codes of blocks that are runs of (bytes, digits of each) and then a scale."""
    size = sum(count for count, _ in runs)
    assert sum(count * depth for count, depth in runs) == weights

    def codes(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        out = np.empty((len(blocks), weights), np.int8)
        start = done = 0
        for count, depth in runs:
            fractions = blocks[:, start : start + count].copy()
            for _ in range(depth):
                # faster than a table, for which numpy makes indices of eight bytes
                digits = (fractions >= _ONE).view(np.int8) + (fractions >= _TWO).view(np.int8)
                out[:, done : done + count] = digits
                fractions *= np.uint8(3)  # modulo 256
                done += count
            start += count
        out -= np.int8(1)
        return out, halves(blocks, size)[:, 0]

    return codes


TQ1_0 = of_codes("TQ1_0", 256, 54, _runs(256, ((32, 5), (16, 5), (4, 4))))
PTQ1_0 = of_codes("PTQ1_0", 128, 28, _runs(128, ((16, 5), (8, 5), (2, 4))))
