"""The numbers that an N4 model is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from chimerac.compiler.errors import UserError
from chimerac.frontends.layers.shapes import QuantizationShape

#: How tokens are counted in the running means: without error, or as bfloat16 holds the numbers, 256, 256, 258, 260, ….
Counter = Literal["exact", "bf16"]

#: Of the ternary variant: channels that share a scale.
QUANTIZATION: Final = QuantizationShape(group_size=128, block_size=64)


@dataclass(frozen=True)
class N4Config:
    """An N4 model, under the names of its document.

    Attributes:
        vocab_size: V. hidden_size: D. inter_size: F, width of the gated network. heads: H. layers: decoder layers.
        bias: whether products have one.
        counter: how tokens are counted.
        context: most tokens of a text, once compiled: the rows of its caches. PyTorch's form has no limit.
        ternary: matrices of -1, 0 and 1 with a scale for 128 columns, tables of int8, and activations of int8.
        seed: of random weights.

    Raises:
        UserError: CHM220, sizes that do not go together.
    """

    vocab_size: int
    hidden_size: int
    inter_size: int
    heads: int
    layers: int
    bias: bool = False
    counter: Counter = "exact"
    context: int = 512
    ternary: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        broken = [text for _, text in contradictions(self.hidden_size, self.heads, self.bias, self.ternary)]
        sizes = ("vocab_size", "hidden_size", "inter_size", "heads", "layers", "context")
        broken += [f"{name} must be 1 or more" for name in sizes if getattr(self, name) < 1]
        if self.counter not in ("exact", "bf16"):
            broken.append(f"counter is {self.counter!r}, neither 'exact' nor 'bf16'")
        if broken:
            raise UserError("CHM220", "no N4 model can be made: " + "; ".join(broken))

    @property
    def vocabulary(self) -> int:
        """V, as every family calls it."""
        return self.vocab_size

    @property
    def head_width(self) -> int:
        """dh: channels of a head."""
        return self.hidden_size // self.heads

    @property
    def scale(self) -> float:
        """Of the products of queries and keys: by the width of the model, not of a head."""
        return float(self.hidden_size**-0.5)


def contradictions(hidden_size: int, heads: int, bias: bool, ternary: bool) -> list[tuple[str, str]]:
    """What leaves no model to be made: the key that is to blame, and the reason."""
    found = []
    if heads < 1 or hidden_size % heads:
        found.append(("heads", f"{hidden_size} channels cannot be shared by {heads} heads"))
    if bias and ternary:
        found.append(("bias", "ternary products have no bias"))
    return found
