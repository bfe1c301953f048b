"""In which form a matrix is multiplied, and where its numbers in that form come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: How the numbers of a matrix are kept.
Kind = Literal["ternary", "int8", "bfloat16", "float16", "float32"]
#: What a matrix of integers is multiplied with beside the scales of its groups: nothing, one number, one for each row.
Factor = Literal["none", "tensor", "row"]
#: What shares a scale of the activations that a matrix of integers is multiplied with: blocks of channels, or all
#: channels of a token, rounded by BitNet's rule.
Activations = Literal["blocks", "row"]

BLOCK = 64  #: activations that share a scale, of products of integers
GROUP = 128  #: columns that share a scale, of matrices that are rounded here


def row_group(columns: int) -> int:
    """The group of a matrix whose rows have one scale each."""
    return -(-columns // BLOCK) * BLOCK


@dataclass(frozen=True)
class Form:
    """The form of one matrix.

    Attributes:
        kind: ternary and int8 are codes with float16 scales, for int8 activations; the others take activations as they
            are.
        group: columns of a row that share a scale, of codes.
        factor: float32 numbers that the product is multiplied with, where they are too exact for float16 scales.
        activations: of trits only other than blocks.
        rotated: channels of a block of the Walsh-Hadamard transform that, after signs, what the matrix multiplies goes
            through first; 0 for none.
    """

    kind: Kind
    group: int = GROUP
    factor: Factor = "none"
    activations: Activations = "blocks"
    rotated: int = 0

    @property
    def integers(self) -> bool:
        return self.kind in ("ternary", "int8")

    def block(self, columns: int) -> int:
        """Activations for which a product with rows of so many columns has a scale: where a row has one for all, and
        the weights have, too, it is one sum of integers."""
        return self.group if self.activations == "row" and self.group >= columns else BLOCK

    def __str__(self) -> str:
        shared = {"none": f"scales for {self.group}", "tensor": "one scale", "row": "a scale for each row"}[self.factor]
        told = f"{self.kind}, {shared}" if self.integers else self.kind
        return f"{told}, rotated in blocks of {self.rotated}" if self.rotated else told
