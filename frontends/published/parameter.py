"""A parameter of the module, and where its numbers are in the files of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from chimerac.frontends.published.stored import Runs

#: How a parameter is used: a matrix is multiplied, a table looked up, too; a gate is a matrix that stays float32, for
#: its few rows decide much; a vector is taken as it is.
#: Experts are matrices of the same size one after the other.
Use = Literal["matrix", "table", "gate", "vector", "experts"]
#: What is computed of stored numbers w: nothing, w + 1, or -exp(w).
Change = Literal["", "plus one", "minus exp"]


@dataclass(frozen=True)
class Stored:
    """Where the numbers of a parameter are in one kind of file.

    Attributes:
        name: of the tensor; of several, one for each expert, with ``{}`` for its number.
        runs: the rows of the tensor that are the parameter's, in its order; None for all as they are.
        shape: of the tensor, or of each of several; None for that of the parameter.
        first: of experts in one tensor, the row of each where the parameter's begin.
    """

    name: str
    runs: Runs | None = None
    shape: tuple[int, ...] | None = None
    change: Change = ""
    first: int = 0

    def names(self, count: int) -> Sequence[str]:
        """Of all tensors, of so many experts."""
        return [self.name.format(number) for number in range(count)] if "{}" in self.name else (self.name,)


@dataclass(frozen=True)
class Parameter:
    """A parameter of the module.

    Attributes:
        name: in the module.
        folder: in safetensors files of transformers.
        gguf: in GGUF files.
        heads: heads of queries or keys whose channels are its rows; 0 of others. Some GGUF files have them in another
            order.
        also: other names of a table that is the head, too.
    """

    name: str
    folder: Stored
    gguf: Stored
    shape: tuple[int, ...]
    use: Use
    heads: int = 0
    also: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All that it is called."""
        return (self.name, self.folder.name, self.gguf.name, *self.also)
