"""Numbers of a GGUF file's metadata, within bounds, and errors that name the file."""

from __future__ import annotations

from typing import Final, TypeVar

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.frontends.sources.gguf import GgufFile

MOST: Final = 1 << 24  #: of any size
#: Keys of these say nothing of what the model computes, or are read with the tokenizer.
SILENT: Final = ("general.", "tokenizer.", "quantize.", "split.")
EMBEDDING: Final = "token_embd.weight"
HEAD: Final = "output.weight"
_Kind = TypeVar("_Kind", int, float)


class Numbers:
    """The keys of a file's architecture."""

    def __init__(self, file: GgufFile) -> None:
        self.file, self.prefix = file, f"{file.architecture}."

    def refuse_unknown(self, known: frozenset[str], starts: tuple[str, ...] = ()) -> None:
        """Raise UserError CHM234 for a key that is not of ``known``, silent, or begins with one of ``starts``."""
        for name in self.file.metadata:
            if not name.startswith((*SILENT, *starts)) and name.removeprefix(self.prefix) not in known:
                hint = "it may change what the model computes, so it is not ignored"
                raise self.unsupported(f"it says {name[:80]}, which chimerac does not know", hint)

    def vocabulary(self) -> int:
        """Rows of the embedding; raises UserError CHM241 if there is none."""
        table = self.file.tensors.get(EMBEDDING)
        if table is None or len(table.shape) != 2:
            raise UserError("CHM241", f"{self.file.path} has no matrix {EMBEDDING}")
        return table.shape[0]

    def size(self, key: str, default: int | None = None, *, most: int = MOST) -> int:
        """A number from 1 to ``most``; raises UserError CHM231 for any other."""
        size = self.value(key, int, default)
        if not 1 <= size <= most:
            raise UserError("CHM231", f"{self.file.path}: {self.prefix}{key} is {size}, not 1 to {most}")
        return size

    def number(self, key: str, default: float | None = None, *, low: float, high: float = np.inf) -> float:
        """A number between two others; raises UserError CHM231 for any other."""
        number = self.value(key, float, default)
        if not low < number < high:
            where = f"{self.file.path}: {self.prefix}{key}"
            raise UserError("CHM231", f"{where} is {number:g}, not between {low:g} and {high:g}")
        return number

    def value(self, key: str, kind: type[_Kind], default: _Kind | None) -> _Kind:
        """A number of the metadata; needed if there is no default."""
        name = f"{self.prefix}{key}"
        if default is None:
            return self.file.metadata.need(name, kind)
        value = self.file.metadata.get(name, kind)
        return default if value is None else value

    def unsupported(self, what: str, hint: str | None = None) -> UserError:
        """UserError CHM234."""
        return UserError("CHM234", f"{self.file.path}: {what}; this is not supported", hint=hint)

    def contradiction(self, what: str) -> UserError:
        """UserError CHM235."""
        return UserError("CHM235", f"{self.file.path} contradicts itself: {what}")
