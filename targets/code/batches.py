"""Which kernels may wait for one another's company: those since the last join touch nothing that a new one needs.

A kernel that threads share is put into a batch, whose kernels run at the same time, later (``chm_share``). So before
anything that reads what the batch writes, or overwrites what it reads or writes, the batch is joined.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.types import TensorType
from chimerac.targets.code.chains import follows
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


@dataclass(frozen=True)
class _Kernel:
    op: Op
    reads: tuple[Region, ...]
    writes: tuple[Region, ...]
    by_tokens: bool


@dataclass
class Batch:
    """The kernels since the last join."""

    kernels: list[_Kernel] = field(default_factory=list)

    def must_end(self, reads: Iterable[Place], writes: Iterable[Place]) -> bool:
        """Whether something that reads and writes these places has to wait for the batch."""
        return any(self._conflicts(_regions(reads), _regions(writes)))

    def followed(
        self, op: Op, reads: Sequence[Place], writes: Iterable[Place], *, by_tokens: bool = False
    ) -> list[int] | None:
        """How far back in the batch the kernels are that a shared one follows; None if it has to wait for the batch.

        ``by_tokens``: its units are tokens, and so are those of whatever it may follow.
        """
        found = []
        written = _regions(writes)
        for back, kernel in enumerate(reversed(self.kernels), start=1):
            if not _conflict(kernel, _regions(reads), written):
                continue
            if kernel.by_tokens != by_tokens or _meet(written, (*kernel.reads, *kernel.writes)):
                return None
            needed = [i for i, place in enumerate(reads) if _meet(_regions([place]), kernel.writes)]
            if by_tokens:
                fits = all(_is_made_by(kernel, op.operands[i].type, reads[i]) for i in needed)
            else:
                fits = all(
                    _regions([reads[i]]) == kernel.writes[:1] and follows(op, op.operands[i], kernel.op) for i in needed
                )
            if not fits:
                return None
            found.append(back)
        return found

    def add(self, op: Op, reads: Iterable[Place], writes: Iterable[Place], *, by_tokens: bool = False) -> None:
        """One more kernel."""
        self.kernels.append(_Kernel(op, _regions(reads), _regions(writes), by_tokens))

    def end(self) -> bool:
        """Forget all kernels; whether there was one."""
        found = bool(self.kernels)
        self.kernels.clear()
        return found

    def _conflicts(self, reads: tuple[Region, ...], writes: tuple[Region, ...]) -> Iterator[bool]:
        return (_conflict(kernel, reads, writes) for kernel in self.kernels)


def _is_made_by(kernel: _Kernel, kind: TensorType, place: Place) -> bool:
    """Whether the tokens of an operand are those of a result of a kernel, where it puts them."""
    made = zip(kernel.writes, kernel.op.results, strict=True)
    region = region_of(place)
    return isinstance(place, Arena) and any(
        region == written and kind.is_dynamic and kind.bytes(1) == result.type.bytes(1) for written, result in made
    )


def _conflict(kernel: _Kernel, reads: tuple[Region, ...], writes: tuple[Region, ...]) -> bool:
    return _meet((*reads, *writes), kernel.writes) or _meet(writes, kernel.reads)


def _regions(places: Iterable[Place]) -> tuple[Region, ...]:
    return tuple(region for place in places if (region := region_of(place)) is not None)


def _meet(some: Iterable[Region], others: Sequence[Region]) -> bool:
    return any(a.overlaps(b) for a in some for b in others)
