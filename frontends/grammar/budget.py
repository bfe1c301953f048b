"""What reading a grammar may cost: one budget goes through a reader and is asked before each piece of work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.grammar import MAX_NESTING, MAX_SOURCE_BYTES

#: Pieces of work for one source: values of a schema, parts of an expression, edges of an automaton.
MAX_WORK: Final = 400_000
_MOST_SHOWN: Final = 60


@dataclass
class Budget:
    """What is left for one source; every method raises UserError CHM282 where that is used up.

    Args:
        what: the source as a message names it, such as "the schema".
    """

    what: str
    bytes: int = MAX_SOURCE_BYTES
    depth: int = MAX_NESTING
    work: int = MAX_WORK

    def source(self, text: str) -> None:
        """Account for a source's text, before it is read."""
        # a character has a byte at least: long texts need not be encoded to be refused
        if len(text) > self.bytes or len(text.encode("utf-8", "surrogatepass")) > self.bytes:
            limit = "1 MiB" if self.bytes == MAX_SOURCE_BYTES else f"{self.bytes:,} bytes"
            raise UserError("CHM282", f"{self.what} is over the limit of {limit}")

    def spend(self, pieces: int = 1) -> None:
        """Account for work that is about to be done."""
        self.work -= pieces
        if self.work < 0:
            raise UserError("CHM282", f"{self.what} needs too much work", hint="make it smaller, or split it")

    def enter(self, depth: int) -> None:
        """Account for a level of nesting."""
        if depth > self.depth:
            raise UserError("CHM282", f"{self.what} is nested more than {self.depth} deep")


def shown(text: object) -> str:
    """A name or value from outside as messages show it: quoted, escaped, at most 60 characters."""
    quoted = ascii(text) if isinstance(text, str) and not text.isprintable() else repr(text)
    return quoted if len(quoted) <= _MOST_SHOWN else quoted[: _MOST_SHOWN - 1] + "…"


def printable(text: str, most: int = 200) -> str:
    """A pointer from outside as messages show it: escaped where it is not printable, cut in its middle."""
    plain = text if text.isprintable() else ascii(text)[1:-1]
    return plain if len(plain) <= most else plain[: most // 2] + "…" + plain[-most // 2 :]
