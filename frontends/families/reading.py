"""A document as one dataclass of keys: all the reading that a family without scales and derived keys has to do."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Generic, TypeVar

from chimerac.compiler.errors import Span, UserError
from chimerac.frontends.config.document import Document
from chimerac.frontends.config.fields import canonical_json
from chimerac.frontends.config.reader import Reader, nearest_place

C = TypeVar("C")


@dataclass(frozen=True)
class Reading(Generic[C]):
    """The keys of a document.

    Attributes:
        keys: the dataclass.
        reader: knows where each of them was written.
    """

    keys: C
    reader: Reader

    @property
    def digest(self) -> str:
        """SHA-256 of all keys with their values, in hexadecimal, however they were written."""
        return hashlib.sha256(canonical_json(self.keys).encode()).hexdigest()

    def place(self, path: str) -> Span | None:
        """Where a dotted key is written, or the nearest part of it that is."""
        return nearest_place(self.reader.places, path)


def read_keys(document: Document, section: type[C]) -> Reading[C]:
    """The document as ``section``, a frozen dataclass whose fields are made with ``config.fields.key``.

    Raises:
        UserError: CHM110 unknown key, or a scale, which these models have not; CHM111 missing key, CHM112 wrong type,
            CHM113 value out of range.
    """
    composition = document.composition
    if composition.scale is not None:
        raise UserError("CHM110", "models of this family have no scales", span=composition.scale.span)
    reader = Reader()
    return Reading(reader.read(section, composition.tree), reader)
