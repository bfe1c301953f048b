"""Moves out of scans what needs nothing of the row before, and computes it for all rows at once.

What depends on rows only becomes an op over all rows, with an axis for them in front: so the products of a step with
its inputs are one product of as many rows as there are tokens. What depends on no row either is computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from chimerac.compiler.ir.module import Attribute, Module, Op, Region, Value
from chimerac.compiler.ir.ops import OPS, TypeRuleError
from chimerac.compiler.ir.scans import Scan, row_of, stack_of
from chimerac.compiler.ir.types import Dim
from chimerac.passes.base import Builder, Rewritten, rewrite

#: Ops that mean the same for each place of one more axis in front, beside those that treat rows by themselves.
BATCHED = frozenset({"reshape", "broadcast", "transpose", "matmul", "embedding", "int8_embedding", "ternary_embedding"})


@dataclass(frozen=True)
class ScanHoisting:
    """Row-wise ops have the same bits for a row as for many."""

    name: str = "scan_hoisting"

    def run(self, module: Module) -> Rewritten:
        moved, scans = 0, 0

        def hoist(op: Op, builder: Builder) -> Sequence[Value] | None:
            nonlocal moved, scans
            if op.name != "scan":
                return None
            work = _Hoisting(Scan.of(op), builder)
            work.sort()
            scans += 1
            moved += work.moved
            return work.rebuilt(op)

        changed = module.map_graphs(lambda graph: rewrite(graph, hoist))
        return Rewritten(changed, (f"moved {moved} ops out of {scans} scans" if scans else "there are no scans",))


@dataclass
class _Hoisting:
    """One scan.

    Attributes:
        batched: values of the region that depend on rows only → the same of all rows, [N, *shape].
        reshaped: those of them that relabel another one → the op.
        kept: ops that stay.
        inside: values that stay in the region.
    """

    scan: Scan
    builder: Builder
    batched: dict[str, Value] = field(default_factory=dict)
    reshaped: dict[str, Op] = field(default_factory=dict)
    kept: list[Op] = field(default_factory=list)
    inside: set[str] = field(default_factory=set)
    moved: int = 0

    def sort(self) -> None:
        """Move what can be moved."""
        scan = self.scan
        self.inside = {v.name for v in scan.carried}
        for sequence, row in zip(scan.sequences, scan.rows, strict=True):
            self.batched[row.name] = self._shaped(sequence, (scan.length, *row.type.shape))
        for op in scan.region.ops:
            names = {v.name for v in op.operands}
            if op.regions or names & self.inside:
                self._keep(op)
            elif not names & self.batched.keys():
                self.builder.ops.append(op)
                self.moved += op.name != "constant"
            elif not self._batch(op):
                self._keep(op)

    def _keep(self, op: Op) -> None:
        self.kept.append(op)
        self.inside.update(r.name for r in op.results)

    def _shaped(self, value: Value, shape: tuple[Dim, ...]) -> Value:
        if value.type.shape == shape:
            return value
        return self.builder.emit("reshape", [value], {"shape": ",".join(map(str, shape))}, hint=value.name)[0]

    def _batch(self, op: Op) -> bool:
        """Compute an op for all rows, if that can be."""
        definition = OPS[op.name]
        if not (definition.row_wise or op.name in BATCHED) or any(r.type.is_dynamic for r in op.results):
            return False
        rank = max(len(r.type.shape) for r in op.results)
        aligned = definition.elementwise or op.name in ("broadcast", "matmul")
        others = [i for i, v in enumerate(op.operands) if v.name in self.batched and i > 0]
        if others and not aligned and op.name != "concat":
            return False
        length, operands = self.scan.length, []
        before = len(self.builder.ops)
        for value in op.operands:
            if value.name in self.batched:
                ones = (1,) * (rank - len(value.type.shape)) if aligned else ()
                value = self._shaped(self.batched[value.name], (length, *ones, *value.type.shape))
            operands.append(value)
        try:
            results = self.builder.emit(
                op.name, operands, self._attributes(op), hint=f"{op.results[0].name}_rows", like=op
            )
        except TypeRuleError:
            results = ()
        wanted = [(r.type.dtype, (length, *r.type.shape)) for r in op.results]
        if [(r.type.dtype, r.type.shape) for r in results] != wanted:
            del self.builder.ops[before:]
            return False
        self.batched.update((old.name, new) for old, new in zip(op.results, results, strict=True))
        if op.name == "reshape":
            self.reshaped[op.results[0].name] = op
        self.moved += op.name != "reshape"
        return True

    def _attributes(self, op: Op) -> dict[str, Attribute]:
        """Those of the op with one more axis in front."""
        changed = dict(op.attributes)
        if "shape" in changed:
            changed["shape"] = ",".join(filter(None, (str(self.scan.length), op.text("shape"))))
        if "perm" in changed:
            changed["perm"] = ",".join(["0", *(str(int(axis) + 1) for axis in op.text("perm").split(","))])
        if "axis" in changed:
            changed["axis"] = op.integer("axis") + 1
        return changed

    def rebuilt(self, op: Op) -> Sequence[Value]:
        """What stands for the results of the scan; the scan itself, of what is left, is appended."""
        scan, needed = self.scan, _Needed(self)
        kept = [needed.of_op(inner) for inner in self.kept]
        stay = [i for i, value in enumerate(scan.made) if value.name not in self.batched]
        following = [needed.of(value) for value in scan.following]
        made = [needed.of(scan.made[i]) for i in stay]
        results: dict[int, Value] = {
            i: self._shaped(self.batched[value.name], stack_of(value.type, scan.length).shape)
            for i, value in enumerate(scan.made)
            if i not in stay
        }
        if kept or scan.carried or stay:
            sequences, rows = needed.sequences()
            region = Region((*scan.carried, *rows), (*needed.ops, *kept), (*following, *made))
            ends = (*scan.end, *(scan.stacked[i] for i in stay))
            self.builder.ops.append(replace(op, operands=(*scan.begin, *sequences), results=ends, regions=(region,)))
        return (*scan.end, *(results.get(i, value) for i, value in enumerate(scan.stacked)))


class _Needed:
    """Rows that what stays in the region needs: of the sequences that there were, or of what is now computed before."""

    def __init__(self, work: _Hoisting) -> None:
        self.work = work
        self.ops: list[Op] = []  #: which give the rows the shapes that values in the region have
        self.found: dict[str, Value] = {}
        self.taken: dict[str, tuple[Value, Value]] = {}  # row → (sequence, row)
        scan = work.scan
        self.old = {row.name: (sequence, row) for sequence, row in zip(scan.sequences, scan.rows, strict=True)}

    def of_op(self, op: Op) -> Op:
        """An op that stays, and may use what is now computed before."""
        regions = tuple(
            Region(r.arguments, tuple(map(self.of_op, r.ops)), tuple(map(self.of, r.results))) for r in op.regions
        )
        return replace(op, operands=tuple(map(self.of, op.operands)), regions=regions)

    def of(self, value: Value) -> Value:
        """A value as it is in the region."""
        if value.name not in self.work.batched:
            return value
        if value.name not in self.found:
            self.found[value.name] = self._make(value)
        return self.found[value.name]

    def _make(self, value: Value) -> Value:
        if value.name in self.old:
            self.taken[value.name] = self.old[value.name]
            return value
        if value.name in self.work.reshaped:
            op = self.work.reshaped[value.name]
            self.ops.append(replace(op, operands=(self.of(op.operands[0]),)))
            return value
        builder, sequence = self.work.builder, self.work.batched[value.name]
        row = Value(builder.fresh(f"{value.name}_row"), row_of(sequence.type))
        self.taken[row.name] = (sequence, row)
        shape = ",".join(map(str, value.type.shape))
        self.ops.append(Op("reshape", (row,), (value,), {"shape": shape}))
        return value

    def sequences(self) -> tuple[list[Value], list[Value]]:
        """Sequences and rows; one at least, by which the scan knows how many there are."""
        kept = list(self.taken.values()) or [next(iter(self.old.values()))]
        return [sequence for sequence, _ in kept], [row for _, row in kept]
