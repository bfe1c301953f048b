"""A parameter of the module, and where its numbers are in the files of others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chimerac.frontends.published.stored import Runs

#: How a parameter is used: a matrix is multiplied, a table looked up, too; a gate is a matrix that stays float32, for
#: its few rows decide much; a vector is taken as it is.
Use = Literal["matrix", "table", "gate", "vector"]
#: What is computed of stored numbers w: nothing, w + 1, or -exp(w).
Change = Literal["", "plus one", "minus exp"]


@dataclass(frozen=True)
class Stored:
    """Where the numbers of a parameter are in one kind of file.

    Attributes:
        name: of the tensor.
        runs: the rows of the tensor that are the parameter's, in its order; None for all as they are.
        shape: of the tensor; None for that of the parameter.
    """

    name: str
    runs: Runs | None = None
    shape: tuple[int, ...] | None = None
    change: Change = ""


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
