"""Which kernels may wait for one another's company: those since the last join touch nothing that a new one needs.

A kernel that threads share is put into a batch, whose kernels run at the same time, later (``chm_share``). So before
anything that reads what the batch writes, or overwrites what it reads or writes, the batch is joined.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from chimerac.targets.code.places import Arena, LastRow, Logits, Place, Result, Row, StateSlot


@dataclass(frozen=True)
class Region:
    """Bytes ``begin`` to ``end`` of a memory that others do not overlap; ``end`` None: all of it."""

    memory: str
    begin: int = 0
    end: int | None = None

    def overlaps(self, other: Region) -> bool:
        """Whether some byte is in both."""
        if self.memory != other.memory:
            return False
        if self.end is None or other.end is None:
            return True
        return self.begin < other.end and other.begin < self.end


def region_of(place: Place) -> Region | None:
    """What a value at a place may take; None of memory that no kernel writes to."""
    match place:
        case Arena(offset, size):
            return Region("arena", offset, offset + size)
        case StateSlot(name, _):
            return Region(f"state {name}")
        case Logits():
            return Region("logits")
        case Result(index):
            return Region(f"result {index}")
        case LastRow(base, _) | Row(base, _, _):
            return region_of(base)
        case _:
            return None


@dataclass
class Batch:
    """The kernels since the last join: what they read and write."""

    reads: list[Region] = field(default_factory=list)
    writes: list[Region] = field(default_factory=list)

    def must_end(self, reads: Iterable[Place], writes: Iterable[Place]) -> bool:
        """Whether something that reads and writes these places has to wait for the batch."""
        read, written = _regions(reads), _regions(writes)
        return _meet(read + written, self.writes) or _meet(written, self.reads)

    def add(self, reads: Iterable[Place], writes: Iterable[Place]) -> None:
        """One more kernel."""
        self.reads += _regions(reads)
        self.writes += _regions(writes)

    def end(self) -> bool:
        """Forget all kernels; whether there was one."""
        found = bool(self.writes)
        self.reads.clear()
        self.writes.clear()
        return found


def _regions(places: Iterable[Place]) -> list[Region]:
    return [region for place in places if (region := region_of(place)) is not None]


def _meet(some: list[Region], others: list[Region]) -> bool:
    return any(a.overlaps(b) for a in some for b in others)
