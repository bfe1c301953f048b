"""What matrices lose when their floats become integers, and what became of them, in a few lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from chimerac.compiler.ir.ops.linear import quantise_rows, to_bfloat16, wide
from chimerac.compiler.ir.quantised import dequantise
from chimerac.frontends.published.matrices import Matrix


def rounding_error(matrix: Matrix) -> float:
    """The root mean square of what rounding changes by that of the weights, of the rows that are read first; 0 of
    matrices that keep their numbers. Raises UserError as of ``Matrix.parts``."""
    if matrix.codes is not None or matrix.form.kind == "float32":
        return 0.0
    part = next(matrix.parts())
    if matrix.form.kind == "bfloat16":
        kept = wide(to_bfloat16(part))
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            kept = dequantise(*quantise_rows(part, matrix.form.group), matrix.form.group)
    size = float(np.square(part, dtype=np.float64).mean())
    lost = float(np.square(part.astype(np.float64) - kept).mean())
    return float(np.sqrt(lost / size)) if size else 0.0


def summary(matrices: Iterable[Matrix]) -> Iterator[str]:
    """A line for each way in which matrices are kept: how many, and the largest error."""
    ways: dict[str, list[tuple[float, str]]] = {}
    for matrix in matrices:
        ways.setdefault(matrix.told, []).append((rounding_error(matrix), matrix.name.removesuffix(".weight")))
    for told, found in ways.items():
        worst, name = max(found)
        error = f", rounded by {worst:.2%} of their size at most ({name})" if worst else ""
        yield f"{len(found)} × {told}{error}"
