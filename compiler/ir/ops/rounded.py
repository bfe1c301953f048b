"""Products and look-ups of matrices that are rounded to float16, as they are imported.

Lowering makes them the float ops over weights of that type, which are widened exactly.
"""

from __future__ import annotations

import numpy as np

from chimerac.compiler.ir.ops.definition import imported
from chimerac.compiler.ir.ops.linear import dense, infer_rounding_linear, wide
from chimerac.compiler.ir.ops.tables import ONE_ROW, infer_embedding


def to_float16(x: np.ndarray) -> np.ndarray:
    """float32 numbers rounded to float16, half to even; those that are too large become infinite."""
    with np.errstate(over="ignore"):
        return x.astype(np.float16)


OPS = [
    imported(
        "float16_linear",
        "x @ weight.T in float32, the weight rounded to float16",
        ("x", "weight"),
        infer_rounding_linear,
        lambda op, arrays: (dense(arrays[0], to_float16(arrays[1])),),
        row_wise=True,
    ),
    imported(
        "float16_embedding",
        "rows of a table, rounded to float16",
        ("ids", "table"),
        infer_embedding,
        lambda op, arrays: (wide(to_float16(arrays[1][arrays[0]])),),
        work=ONE_ROW,
    ),
]
