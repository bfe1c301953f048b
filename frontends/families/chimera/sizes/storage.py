"""Bytes of ternary matrices and of the embedding in each storage format."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from chimerac.frontends.families.chimera.shape import ChimeraShape
from chimerac.frontends.families.chimera.sizes.parameters import Counts, Matrix, Part

ENTROPY = math.log2(3)  #: bits of a ternary weight when all three values are equally likely
SCALE_BYTES = 2  #: one fp16 scale per group

#: Format to the bytes of a run of n weights, without scales.
FORMATS: Mapping[str, Callable[[int], int]] = {
    "sparse 3:4": lambda n: math.ceil(n * 5 / 32),  # 5 bits for 4 weights
    "base 3": lambda n: math.ceil(n / 5),  # 5 weights in a byte
    "triples": lambda n: math.ceil((n // 64 * 108 + n % 64 * 2) / 8),  # of 64: 20 triples in 5 bits, 2 pairs in 4
    "2 bit": lambda n: math.ceil(n / 4),
}

#: Bits per weight that a format can have, without scales: the four above and base 3 in groups of 128.
STORABLE_BITS = (1.25, 1.6, 1.625, 1.667, 1.6875, 2.0)


def ternary_bytes(matrices: Iterable[Matrix], format_name: str, group: int, parts: tuple[Part, ...] = ()) -> int:
    """Bytes of the matrices of the parts named (all when none is), with a scale per group of each row."""
    chosen = (m for m in matrices if not parts or m.part in parts)
    return sum(m.copies * m.rows * _row_bytes(m.columns, format_name, group) for m in chosen)


def _row_bytes(columns: int, format_name: str, group: int) -> int:
    """Bytes of a row of trits and its scales."""
    size = FORMATS[format_name]
    whole, rest = divmod(columns, group)
    return whole * (size(group) + SCALE_BYTES) + (size(rest) + SCALE_BYTES if rest else 0)


def embedding_bytes(shape: ChimeraShape, format_name: str, ternary_format: str = "base 3") -> int:
    """Bytes of the tied embedding: ``int8`` or ``ternary`` with a scale per group, ``bfloat16`` or ``float32``."""
    group = shape.quantization.group_size
    if format_name == "ternary":
        return shape.vocabulary * _row_bytes(shape.hidden, ternary_format, group)
    if format_name == "int8":
        return shape.vocabulary * (shape.hidden + math.ceil(shape.hidden / group) * SCALE_BYTES)
    return shape.vocabulary * shape.hidden * {"bfloat16": 2, "float32": 4}[format_name]


def weight_bytes(shape: ChimeraShape, counts: Counts, format_name: str = "base 3") -> tuple[int, int]:
    """Bytes of everything that is not a routed expert, embedding included, and of the routed experts."""
    group = shape.quantization.group_size
    routed = ternary_bytes(counts.matrices, format_name, group, ("routed",))
    resident = ternary_bytes(counts.matrices, format_name, group, ("mixer", "dense", "shared"))
    floats = 4 * (counts.float_parameters + counts.norms)
    return resident + floats + embedding_bytes(shape, shape.embedding_format, format_name), routed
