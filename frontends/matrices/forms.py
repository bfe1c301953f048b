"""In which form a matrix is multiplied, and where its numbers in that form come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: How the numbers of a matrix are kept.
Kind = Literal["ternary", "int8", "bfloat16", "float16", "float32"]
#: What a matrix of integers is multiplied with beside the scales of its groups: nothing, one number, one for each row.
Factor = Literal["none", "tensor", "row"]

BLOCK = 64  #: activations that share a scale, of products of integers
GROUP = 128  #: columns that share a scale, of matrices that are rounded here


@dataclass(frozen=True)
class Form:
    """The form of one matrix.

    Attributes:
        kind: ternary and int8 are codes with float16 scales, for int8 activations; the others take activations as they
            are.
        group: columns of a row that share a scale, of codes.
        factor: float32 numbers that the product is multiplied with, where they are too exact for float16 scales.
    """

    kind: Kind
    group: int = GROUP
    factor: Factor = "none"

    @property
    def integers(self) -> bool:
        return self.kind in ("ternary", "int8")

    def __str__(self) -> str:
        shared = {"none": f"scales for {self.group}", "tensor": "one scale", "row": "a scale for each row"}[self.factor]
        return f"{self.kind}, {shared}" if self.integers else self.kind
