"""What matrices lose when their floats become integers, and what became of them, as a card says it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from chimerac.compiler.ir.ops.linear import quantise_rows, ternarise, to_bfloat16, wide
from chimerac.compiler.ir.ops.rounded import to_float16
from chimerac.compiler.ir.quantised import dequantise
from chimerac.frontends.matrices.forms import BLOCK, Activations
from chimerac.frontends.matrices.matrix import Matrix


def rounding_error(matrix: Matrix) -> float:
    """The root mean square of what rounding changes by that of the weights, of the rows that are read first; 0 of
    matrices that keep their numbers. Raises UserError as of ``Matrix.parts``."""
    if matrix.codes is not None or matrix.form.kind == "float32":
        return 0.0
    part = next(matrix.parts())
    if not matrix.form.integers:
        kept = wide(to_bfloat16(part) if matrix.form.kind == "bfloat16" else to_float16(part))
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            round_ = ternarise if matrix.form.kind == "ternary" else quantise_rows
            kept = dequantise(*round_(part, matrix.form.group), matrix.form.group)
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


def table(matrices: Iterable[Matrix]) -> Iterator[str]:
    """Lines of a table in Markdown: each matrix, its size, its form, and what rounding changes."""
    yield "| matrix | size | form | rounded by |"
    yield "| --- | --- | --- | --- |"
    for matrix in matrices:
        error = rounding_error(matrix)
        lost = f"{error:.2%}" if error else "-"
        yield f"| `{matrix.name}` | {matrix.size[0]} × {matrix.size[1]} | {matrix.form} | {lost} |"


def notes(told: Iterable[str], matrices: Sequence[Matrix] = (), activations: Activations = "blocks") -> str:
    """The section of a card, in Markdown.

    Args:
        told: of ``summary``.
        matrices: those that get a line each.
        activations: of the layers' ternary matrices.
    """
    said = f"Products of integers take activations of 8 bits, with a scale for each {BLOCK} channels"
    said += (
        "." if activations == "blocks" else "; those of the layers' trits with one for all channels, as BitNet has it."
    )
    each = ["", *table(matrices)] if matrices else []
    return "\n".join(["## Matrices", "", *(f"- {line}" for line in told), *each, "", said, ""])
