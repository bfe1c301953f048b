"""What the operands, arguments and results of a ``scan`` are: a region that runs once for each row of its sequences."""

from __future__ import annotations

from dataclasses import dataclass

from chimerac.compiler.ir.module import Op, Region, Value, walk
from chimerac.compiler.ir.types import TOKENS, Dim, TensorType


@dataclass(frozen=True)
class Scan:
    """A ``scan`` by its parts.

    Operands are the carried values that it begins with, then sequences [N, ...] of one length. The region takes the
    carried values and a row [1, ...] of each sequence; it yields the carried values of the next row, then the rows
    [1, ...] of the results. Results are the carried values after the last row, then the sequences [N, ...] of rows.
    """

    begin: tuple[Value, ...]
    sequences: tuple[Value, ...]
    region: Region
    carried: tuple[Value, ...]  #: arguments of the region
    rows: tuple[Value, ...]  #: arguments of the region: of each sequence
    following: tuple[Value, ...]  #: results of the region: what is carried next
    made: tuple[Value, ...]  #: results of the region: rows
    end: tuple[Value, ...]
    stacked: tuple[Value, ...]
    reverse: bool  #: from the last row to the first; rows of results are those of the sequences all the same

    @staticmethod
    def of(op: Op) -> Scan:
        """The parts of an op that is a ``scan``."""
        count, (region,) = op.integer("carried"), op.regions
        return Scan(
            op.operands[:count],
            op.operands[count:],
            region,
            region.arguments[:count],
            region.arguments[count:],
            region.results[:count],
            region.results[count:],
            op.results[:count],
            op.results[count:],
            bool(op.attributes.get("reverse", 0)),
        )

    @property
    def length(self) -> Dim:
        """The rows of each sequence: a number, or ``T``."""
        return self.sequences[0].type.shape[0]


def row_of(sequence: TensorType) -> TensorType:
    """The type of a row of a sequence."""
    return sequence.with_shape((1, *sequence.shape[1:]))


def stack_of(row: TensorType, length: Dim) -> TensorType:
    """The type of a sequence of rows."""
    return row.with_shape((length, *row.shape[1:]))


def problem_of(op: Op) -> str | None:
    """What is wrong with the types of a ``scan`` but for those of its results; None if nothing is."""
    count = op.integer("carried")
    if not 0 <= count < len(op.operands) or len(op.regions) != 1 or op.attributes.get("reverse", 0) not in (0, 1):
        return "needs a region, and a sequence after its carried values"
    if len(op.regions[0].results) < count:
        return "region results do not match the carried values"
    scan = Scan.of(op)
    if any(v.type.is_dynamic for v in (*scan.begin, *scan.made)):
        return "carried values and rows have a fixed shape"
    shapes = [v.type.shape for v in scan.sequences]
    if any(len(s) == 0 or s[0] != shapes[0][0] or s[0] == 0 or TOKENS in s[1:] for s in shapes):
        return "sequences have a first axis of one length, and no other of the tokens"
    wanted = (*(v.type for v in scan.begin), *(row_of(v.type) for v in scan.sequences))
    if tuple(a.type for a in scan.region.arguments) != wanted:
        return "region arguments do not match the carried values and rows"
    if tuple(v.type for v in scan.following) != tuple(v.type for v in scan.begin):
        return "region results do not match the carried values"
    if any(v.type.shape[:1] != (1,) for v in scan.made):
        return "region results are no rows"
    if any(inner.name == "loop" or inner.name.startswith("state.") for inner in walk(scan.region.ops)):
        return "a scan has neither states nor a loop"
    return None


def result_types(op: Op) -> tuple[TensorType, ...]:
    """Types of the results of a ``scan``, of which ``problem_of`` finds nothing wrong."""
    scan = Scan.of(op)
    return (*(v.type for v in scan.begin), *(stack_of(v.type, scan.length) for v in scan.made))
