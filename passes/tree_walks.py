"""Lets the graph that verifies run over a tree of tokens, and makes the graph that commits one of its paths.

Most ops treat each token by itself, and do for the nodes of a tree what they do for tokens in a row. The others are
those that depend on the place of a row or on the states: with what belongs to the same states they are put into
``walk``, which runs them path by path. What changes states and gives no rows only has to happen to the chosen path: its
walk is empty, and it is in the ``replay`` of the graph that commits, as is the region of every walk with states.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Attribute, Graph, Module, Op, Region, Value, used_values, walk
from chimerac.compiler.ir.trees import ROW_STATES, is_rows
from chimerac.compiler.ir.types import i32
from chimerac.passes.base import Builder, Rewritten, graph_names

#: Ops that depend on the places of their rows, but on no state.
PLACED = frozenset({"rope", "iota"})
#: Reads states at the first position of a block, which a tree never goes beyond: node 0 is always committed.
ANCHOR = "titans_anchor"


@dataclass(frozen=True)
class TreeWalks:
    """Modules without a graph of the role ``verify`` stay as they are.

    Raises:
        UserError: CHM315, a layer keeps its state in a way that has no such form yet.
    """

    name: str = "tree_walks"

    def run(self, module: Module) -> Rewritten:
        graph = next((g for g in module.graphs.values() if g.role == "verify"), None)
        if graph is None:
            return Rewritten(module)
        work = _Trees(module, graph, Builder(graph_names(graph)))
        verify = replace(graph, ops=tuple(work.changed(graph.ops, None, graph.results)))
        commit = replace(graph, name="commit", role="commit", ops=tuple(work.commit.ops), results=())
        note = f"{work.count} walks, {sum(op.name == 'replay' for op in commit.ops)} of them with states"
        return Rewritten(replace(module, graphs={**module.graphs, graph.name: verify, "commit": commit}), (note,))


def refused(op: Op, why: str) -> UserError:
    """An op that has no form for trees."""
    hint = "build without --speculate"
    where = f" ({op.location})" if op.location else ""
    return UserError("CHM315", f"speculation with {op.name} in {op.part} is not compiled yet: {why}{where}", hint=hint)


@dataclass
class _Group:
    """Ops of one walk by their numbers."""

    members: list[int]
    stateful: bool


@dataclass
class _Trees:
    """The two graphs in the making.

    Attributes:
        builder: of names in the graph that verifies.
        commit: the ops of the graph that commits.
        copied: values of the one graph → the same in the other, for what is neither rows nor states of a walk.
        held: values that are written to a state at once → that write.
        given: states that no op writes, the same for all tokens of a call.
    """

    module: Module
    graph: Graph
    builder: Builder
    count: int = 0
    commit: Builder = field(default_factory=lambda: Builder({"tokens", "position"}))
    copied: dict[str, Value] = field(default_factory=dict)
    makers: dict[str, Op] = field(default_factory=dict)
    held: dict[str, Op] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        written = {op.text("name") for op in walk(self.graph.ops) if op.name == "state.write"}
        self.given = self.module.states.keys() - written
        for op in walk(self.graph.ops):
            self.makers.update((value.name, op) for value in op.results)
            if op.name == "state.write" and self.makers[op.operands[0].name].name == ANCHOR:
                self.held[op.operands[0].name] = op
            if op.name == "token_count":
                raise refused(op, "it counts the tokens of a call")

    def changed(self, ops: Sequence[Op], write: Value | None, results: Sequence[Value]) -> Iterator[Op]:
        """The ops of the graph, or of a looped region whose flag is ``write``, with walks among them."""
        ops = [self._loop(op) if op.name == "loop" else op for op in self._with_own_reads(ops)]
        groups = list(_groups(ops, self.given))
        for op in ops:
            if op.name == "loop" and any(v.name in _states(ops, self.given) for v in _used(op)):
                raise refused(op, "a loop reads a state from outside")
        number = {member: index for index, group in enumerate(groups) for member in group.members}
        outside = {value.name for index, op in enumerate(ops) if index not in number for value in _used(op)}
        outside |= {value.name for value in results}
        nodes: list[tuple[int, Op]] = [(i, op) for i, op in enumerate(ops) if i not in number]
        for index, group in enumerate(groups):
            members = [ops[i] for i in group.members]
            others = {v.name for i, op in enumerate(ops) if number.get(i, index) != index for v in _used(op)}
            nodes.append((group.members[-1], self._walk(members, outside | others, write, stateful=group.stateful)))
        yield from _sorted(nodes)

    def _with_own_reads(self, ops: Sequence[Op]) -> Iterator[Op]:
        """The ops, where what anchors read of a state is no other op's operand."""
        reads = {op.results[0].name: op for op in ops if op.name == "state.read"}
        shared = {v.name for op in ops if op.name != ANCHOR for v in _used(op) if v.name in reads}
        for op in ops:
            if op.name == ANCHOR:
                for value in [v for v in op.operands if v.name in shared]:
                    own = Value(self.builder.fresh(value.name), value.type)
                    yield replace(reads[value.name], results=(own,))
                    op = replace(op, operands=tuple(own if v == value else v for v in op.operands))
            yield op

    def _loop(self, op: Op) -> Op:
        (region,) = op.regions
        changed = tuple(self.changed(region.ops, region.arguments[0], region.results))
        return replace(op, regions=(Region(region.arguments, changed, region.results),))

    def _walk(self, ops: Sequence[Op], used: set[str], write: Value | None, *, stateful: bool) -> Op:
        """The walk of some ops, whose results that are ``used`` outside are rows; its replay is added."""
        first = next((op for op in ops if any(v.type.is_dynamic for v in (*op.operands, *op.results))), ops[0])
        made = {value.name for op in ops for value in op.results}
        taken = dict.fromkeys(v for op in ops for v in _used(op) if v.type.is_dynamic and v.name not in made)
        results = [v for op in ops for v in op.results if v.name in used]
        if not taken or not all(is_rows(v.type) for v in (*taken, *results)):
            raise refused(first, "what it reads or gives does not lie token by token")
        if stateful and any(op.name == "iota" for op in ops):
            raise refused(first, "it keeps the numbers of tokens")
        number, self.count = self.count, self.count + 1
        sequences = tuple(taken)
        if stateful:
            self._replay(number, ops, sequences, write)
        fresh = self.builder.fresh
        place, depth = (Value(fresh(name), i32()) for name in ("place", "depth"))
        rows = [Value(fresh(f"{v.name}_rows"), v.type) for v in sequences]
        values: dict[str, Value] = {v.name: row for v, row in zip(sequences, rows, strict=True)}
        values[self.graph.inputs[1].name] = place
        inside: list[Op] = []
        if results or not stateful:
            for op in ops:
                values.update((v.name, Value(fresh(f"{v.name}_node"), v.type)) for v in op.results)
                inside += self._in_walk(_renamed(op, values), depth)
        region = Region((place, depth, *rows), tuple(inside), tuple(values[v.name] for v in results))
        operands = (self.graph.inputs[1], *sequences)
        return Op("walk", operands, tuple(results), {"walk": number}, (region,), first.part, first.location)

    def _in_walk(self, op: Op, depth: Value) -> Iterator[Op]:
        """Numbers of the tokens of a call begin at the depth of the path."""
        if op.name != "iota":
            yield op
            return
        (result,) = op.results
        count = Value(self.builder.fresh(f"{result.name}_count"), result.type)
        yield replace(op, results=(count,))
        yield replace(op, name="int_add", operands=(count, depth))

    def _replay(self, number: int, ops: Sequence[Op], sequences: Sequence[Value], write: Value | None) -> None:
        fresh = self.commit.fresh
        place, flag = (Value(fresh(name), i32()) for name in ("place", "write"))
        rows = [Value(fresh(f"{v.name}_rows"), v.type) for v in sequences]
        values: dict[str, Value] = {v.name: row for v, row in zip(sequences, rows, strict=True)}
        values[self.graph.inputs[1].name] = place
        if write is not None:
            values[write.name] = flag
        inside: list[Op] = []
        for op in ops:
            for value in _used(op):
                if value.name not in values:
                    values[value.name] = self._same(op, value, write is not None)
            values.update((v.name, Value(fresh(v.name), v.type)) for v in op.results)
            inside.append(_renamed(op, values, _writing_only(op)))
        region = Region((place, flag, *rows), tuple(inside), ())
        attributes: dict[str, Attribute] = {"walk": number, "looped": int(write is not None)}
        self.commit.ops.append(Op("replay", (), (), attributes, (region,), ops[-1].part, ops[-1].location))

    def _same(self, user: Op, value: Value, looped: bool) -> Value:
        """What has the value in the graph that commits."""
        if value.name in self.copied:
            return self.copied[value.name]
        maker = self.makers.get(value.name)
        if value.name in self.held:
            if looped and self.module.states[self.held[value.name].text("name")].iterations > 1:
                raise refused(user, "an anchor has a copy for each iteration")
            maker = Op("state.read", (), (value,), self.held[value.name].attributes)
        elif maker is None or maker.name.startswith("state.") or any(v.type.is_dynamic for v in maker.operands):
            raise refused(user, f"it uses {value}, which is not known when a path is committed")
        values = {v.name: self._same(user, v, looped) for v in _used(maker)}
        values.update((v.name, Value(self.commit.fresh(v.name), v.type)) for v in maker.results)
        self.copied.update((v.name, values[v.name]) for v in maker.results)
        self.commit.ops.append(_renamed(maker, values))
        return self.copied[value.name]


def _writing_only(op: Op) -> Mapping[str, Attribute]:
    """Attributes of an op whose rows nobody reads: attention writes its states, and looks at one row."""
    return {**op.attributes, "window": 1} if op.name in ROW_STATES else op.attributes


def _renamed(op: Op, values: Mapping[str, Value], attributes: Mapping[str, Attribute] | None = None) -> Op:
    """An op with other operands and results; regions of scans keep the names of what they make."""

    def other(found: tuple[Value, ...]) -> tuple[Value, ...]:
        return tuple(values.get(v.name, v) for v in found)

    regions = tuple(
        Region(r.arguments, tuple(_renamed(inner, values) for inner in r.ops), other(r.results)) for r in op.regions
    )
    given = op.attributes if attributes is None else attributes
    return replace(op, operands=other(op.operands), results=other(op.results), attributes=given, regions=regions)


def _used(op: Op) -> Iterator[Value]:
    """Values that an op takes from outside of it."""
    own = {v.name for inner in walk((op,)) for r in inner.regions for v in r.arguments}
    own |= {v.name for region in op.regions for inner in walk(region.ops) for v in inner.results}
    yield from (v for v in used_values((op,)) if v.name not in own)


def _states(ops: Sequence[Op], given: Collection[str]) -> set[str]:
    """Values that depend on states but the given ones, and are no rows of tokens."""
    found: set[str] = set()
    for op in ops:
        if _touches(op, given) or (op.name not in (ANCHOR, "loop") and any(v.name in found for v in _used(op))):
            found |= {v.name for v in op.results if not v.type.is_dynamic}
    return found


def _written(ops: Sequence[Op], makers: Mapping[str, int]) -> set[int]:
    """Ops that make what is written to states of what they know of the tokens, without rows."""
    found: set[int] = set()
    todo = [v.name for op in ops if op.name == "state.write" for v in op.operands]
    while todo:
        index = makers.get(todo.pop())
        if index is not None and index not in found and ops[index].name not in (ANCHOR, "constant", "loop"):
            found.add(index)
            todo += [v.name for v in _used(ops[index]) if not v.type.is_dynamic]
    return found


def _touches(op: Op, given: Collection[str]) -> bool:
    """Whether an op reads or writes a state that tokens change."""
    return op.name.startswith("state.") and op.text("name") not in given


def _groups(ops: Sequence[Op], given: Collection[str]) -> Iterator[_Group]:
    """The ops that have to be in walks, by walk."""
    states = _states(ops, given)
    makers = {v.name: i for i, op in enumerate(ops) for v in op.results}
    users: dict[str, list[int]] = {}
    for index, op in enumerate(ops):
        for value in _used(op):
            users.setdefault(value.name, []).append(index)
    apart = {i for i, op in enumerate(ops) if op.name == ANCHOR}
    for index, op in enumerate(ops):
        of_anchor = op.name == "state.read" and all(i in apart for i in users.get(op.results[0].name, [index]))
        if of_anchor or (op.name == "state.write" and makers.get(op.operands[0].name) in apart):
            apart.add(index)
    inside = _written(ops, makers) | {
        i
        for i, op in enumerate(ops)
        if _touches(op, given) or (op.name != "loop" and any(v.name in states for v in _used(op)))
    }
    inside -= apart
    together = _Sets(inside)
    by_state: dict[str, int] = {}
    for index in sorted(inside):
        op = ops[index]
        if op.name.startswith("state."):
            together.join(by_state.setdefault(op.text("name"), index), index)
        for value in _used(op):
            maker = makers.get(value.name)
            if maker in inside and (not value.type.is_dynamic or ops[maker].name == "state.read"):
                together.join(maker, index)
    yield from (_Group(members, True) for members in together.members())
    yield from (_Group([i], False) for i, op in enumerate(ops) if op.name in PLACED and i not in inside)


class _Sets:
    """Numbers in sets that grow together."""

    def __init__(self, numbers: set[int]) -> None:
        self.parent = {number: number for number in numbers}

    def root(self, number: int) -> int:
        while self.parent[number] != number:
            number = self.parent[number]
        return number

    def join(self, a: int, b: int) -> None:
        a, b = sorted((self.root(a), self.root(b)))
        self.parent[b] = a

    def members(self) -> Iterator[list[int]]:
        found: dict[int, list[int]] = {}
        for number in sorted(self.parent):
            found.setdefault(self.root(number), []).append(number)
        yield from found.values()


def _sorted(nodes: Sequence[tuple[int, Op]]) -> Iterator[Op]:
    """Ops in an order in which values are made before they are used, and states are touched in the order given."""
    nodes = sorted(nodes, key=lambda node: node[0])
    makers = {v.name: i for i, (_, op) in enumerate(nodes) for v in op.results}
    waiting, followers = [0] * len(nodes), [list[int]() for _ in nodes]
    touched: int | None = None
    for index, (_, op) in enumerate(nodes):
        before = {makers[v.name] for v in _used(op) if v.name in makers}
        if op.name.startswith("state.") or op.name == ANCHOR:
            before |= {touched} if touched is not None else set()
            touched = index
        waiting[index] = len(before)
        for other in before:
            followers[other].append(index)
    ready = [index for index, count in enumerate(waiting) if not count]
    done = 0
    while ready:
        index = heapq.heappop(ready)
        done += 1
        yield nodes[index][1]
        for other in followers[index]:
            waiting[other] -= 1
            if not waiting[other]:
                heapq.heappush(ready, other)
    if done < len(nodes):
        stuck = next(op for index, (_, op) in enumerate(nodes) if waiting[index] and op.name == "walk")
        raise refused(next(op for op in stuck.regions[0].ops if op.results), "several layers share one state")
