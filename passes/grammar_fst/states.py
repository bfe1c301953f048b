"""Deterministic states and what leads from one to the next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from chimerac.passes.grammar_fst.nfa import Action, Machine

#: Bytes, last byte included, then actions in order and the next state (0 after a pop). A pop is of the frame of the
#: state that the segment belongs to: a frame that opens and ends with one byte is none.
Segment = tuple[int, int, tuple[Action, ...], int]


@dataclass(eq=False, slots=True)
class Shared:
    """Segments that are the same in many states. They have no actions, in machines that count nothing, and no slots.

    In an object of many properties a state says which of them may still come and how any other name goes on; the latter
    makes most segments, and is the same after each property.
    """

    segments: tuple[Segment, ...]
    bytes: int  #: set of bytes that they take
    targets: dict[int, int]  #: the next states, each with its lowest byte

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> Shared:
        """Shared segments, ascending."""
        return cls(tuple(segments), bytes_of(segments), {s[3]: s[0] for s in reversed(segments)})


@dataclass(slots=True)
class State:
    """A deterministic state: a set of nodes of one machine."""

    machine: Machine
    nodes: frozenset[int]
    final: bool
    segments: list[Segment] = field(default_factory=list)  #: its own
    shared: Shared | None = None  #: those of other bytes, which other states have, too
    parent: tuple[int, int] = (-1, 0)  #: a state before it, and the byte between; -1: a whole construct, -2: nothing
    check: int = 0  #: marks that the end of the frame needs here
    first: int = 0  #: set of bytes that segments take, bit b for byte b
    returns: int = 0  #: set of bytes at which the frame ends

    def all_segments(self) -> list[Segment]:
        """Its own segments and those that it shares."""
        return self.segments if self.shared is None else sorted([*self.segments, *self.shared.segments])


def byte_range(first: int, last: int) -> int:
    """The set of the bytes of a range."""
    return (1 << last + 1) - (1 << first)


def bytes_of(segments: Iterable[Segment]) -> int:
    """The set of bytes that segments take."""
    found = 0
    for first, last, _, _ in segments:
        found |= (1 << last + 1) - (1 << first)
    return found
