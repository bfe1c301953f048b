"""Where values live at run time: the result of memory planning, read by the driver generator and the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from chimerac.compiler.ir.module import Op, Value
from chimerac.compiler.ir.trees import RowState

ALIGNMENT = 64


@dataclass(frozen=True)
class Arena:
    """Scratch memory at a byte offset."""

    offset: int
    bytes: int


@dataclass(frozen=True)
class Weight:
    """A section of the weights file."""

    name: str


@dataclass(frozen=True)
class StateSlot:
    """One copy of a state; ``iteration`` None means that of the running loop iteration."""

    name: str
    iteration: int | None


@dataclass(frozen=True)
class Input:
    """A field of the call: tokens or position, the loop's ``write`` flag, or ``place`` or ``depth`` of a path."""

    name: str


@dataclass(frozen=True)
class Logits:
    """The caller's logits buffer."""


@dataclass(frozen=True)
class Argument:
    """An input of a call of tensors, by its number."""

    index: int


@dataclass(frozen=True)
class Result:
    """Where the caller of tensors wants a result, by its number."""

    index: int


@dataclass(frozen=True)
class LastRow:
    """The row of the last token inside another place."""

    base: Place
    row_bytes: int


@dataclass(frozen=True)
class Row:
    """The row of a running scan inside another place.

    Attributes:
        scan: number of the scan.
    """

    base: Place
    row_bytes: int
    scan: int


@dataclass(frozen=True)
class Kept:
    """Rows of the tokens of a tree, kept until a path is chosen; the next iteration's are ``stride`` after."""

    offset: int
    stride: int


Place = Arena | Weight | StateSlot | Input | Logits | Argument | Result | LastRow | Row | Kept


@dataclass(frozen=True)
class Copy:
    """A copy of ``value``'s memory to its own place, made before the op that would overwrite the original."""

    source: Place
    target: Place
    value: Value


def numbered(ops: tuple[Op, ...], start: int = 0) -> Iterator[tuple[int, Op]]:
    """Each op with its number, by which a plan names it; numbers ascend in the order in which ops run.

    The ops in an op's regions have the numbers after its own, and so has the end of each region.
    """
    for op in ops:
        yield start, op
        start = following(op, start)


def following(op: Op, number: int) -> int:
    """The number of what comes after an op; one less is that of the end of its last region."""
    return number + 1 + sum(count(region.ops) + 1 for region in op.regions)


def count(ops: tuple[Op, ...]) -> int:
    """How many numbers ops have, with what is in their regions."""
    return sum(following(op, 0) for op in ops)


@dataclass(frozen=True)
class GraphPlan:
    """Places of one graph's values.

    Attributes:
        places: value name → place.
        copies: number of an op (``numbered``) → copies to make before it; of the end of a scan: after each row.
        arena_bytes: size of the arena.
        unshared_bytes: what the arena would be without reuse, for the report.
    """

    places: dict[str, Place]
    copies: dict[int, tuple[Copy, ...]]
    arena_bytes: int
    unshared_bytes: int


@dataclass(frozen=True)
class WalkPlan:
    """What belongs to one walk.

    Attributes:
        sequences: the rows of its operands, in their order, [MOST_NODES]; none where no path of it is replayed.
        states: name → the rows that nodes overwrite, [blocks, MOST_NODES].
        slots: name of a state that each path has → its offset in a slot.
    """

    sequences: tuple[Kept, ...]
    states: Mapping[str, tuple[RowState, Kept]]
    slots: Mapping[str, int]


@dataclass(frozen=True)
class TreePlan:
    """What trees of tokens need beside values; ``slot_bytes`` 0 where no state has branches."""

    walks: Mapping[int, WalkPlan]
    kept_bytes: int
    slot_bytes: int


@dataclass(frozen=True)
class MemoryPlan:
    """Places of a whole module; ``state_offsets`` in bytes of the session's state region.

    Attributes:
        slots_offset: of the states of the paths of a tree, in the arena.
    """

    graphs: dict[str, GraphPlan]
    state_offsets: dict[str, int]
    state_bytes: int
    arena_bytes: int
    slots_offset: int
    trees: TreePlan


def align(size: int) -> int:
    """``size`` rounded up to the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT
