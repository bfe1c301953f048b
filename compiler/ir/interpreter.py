"""Runs a module with numpy: the definition of what every target must compute, bit for bit.

A ``Session`` holds the recurrent state of one stream, as the C runtime does: calls of at most ``block`` tokens that
never cross a multiple of ``block``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir import numpy_math
from chimerac.compiler.ir.activity import PRODUCTS, Activity
from chimerac.compiler.ir.context import context_of
from chimerac.compiler.ir.layouts import unpack
from chimerac.compiler.ir.module import (
    Graph,
    Module,
    Op,
    Region,
    Role,
    Value,
    done_after,
    fewest_iterations,
    used_values,
    walk,
)
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.scans import Scan
from chimerac.compiler.ir.tree_runs import TreeRun
from chimerac.compiler.ir.trees import Replay, Walk
from chimerac.compiler.ir.unpacking import PackedRows

Environment = dict[str, np.ndarray]

#: Packed bytes of weights from which on a session unpacks rows at each use only.
LARGE = 1 << 28
#: Bytes of unpacked weights that a session of fewer keeps, but for the last matrix.
MOST_UNPACKED = 1 << 28


def is_large(module: Module) -> bool:
    """Whether a token takes seconds."""
    return sum(c.type.elements() for c in module.constants.values() if c.type.layout) > LARGE


@dataclass(frozen=True)
class LoopControl:
    """How often looped regions run: a count, and optionally an early exit.

    ``exit_threshold`` 0 means a fixed count; otherwise the loop ends after iteration r >= 2, and not before the least
    that the module allows, when every token has
    ``|h_r - h_(r-1)| <= exit_threshold * |h_r|``.
    """

    loops: int
    exit_threshold: float = 0.0


class Session:
    """One stream of tokens through a module, or of calls with tensors.

    Args:
        module: verified module with graphs of the roles decode and prefill, or of the role call.
        loops: iterations of looped regions; the module's default when None.
        exit_threshold: see ``LoopControl``.
        observe: called with (op, operands, results) after every op, for debugging and comparisons.
    """

    def __init__(
        self,
        module: Module,
        *,
        loops: int | None = None,
        exit_threshold: float = 0.0,
        observe: Callable[[Op, Sequence[np.ndarray], Sequence[np.ndarray]], None] | None = None,
    ) -> None:
        self.module = module
        self.control = LoopControl(module.loops[0] if loops is None else loops, exit_threshold)
        if not module.fewest_loops <= self.control.loops <= module.loops[1]:
            allowed = f"within {module.fewest_loops} and {module.loops[1]}"
            raise ValueError(f"loops must be {allowed}, not {self.control.loops}")
        self.position = 0
        self.context = context_of(module)
        self.iterations = 0  #: of the last call
        self.activity = Activity()  #: of gated neurons, in all calls
        self.deepest = 0  #: iterations whose states are in use
        self._observe = observe
        self._overwritten = frozenset[str]() if observe is not None else frozenset(_overwritten(module))
        self._done: dict[int, list[list[str]]] = {}  # of graphs and regions: see done_after
        self._room = 0 if is_large(module) else MOST_UNPACKED
        self._unpacked: dict[tuple[int, int, int], tuple[np.ndarray, np.ndarray]] = {}  # by the array, which is held
        self.tree: TreeRun | None = None  #: that was verified, and of which no path was committed yet
        self.states: dict[str, np.ndarray] = {}
        for name, state in module.states.items():
            copies = np.zeros((state.iterations, *_static_shape(state.type.shape)), state.type.numpy)
            if state.initial is not None:
                copies[:] = module.constants[state.initial].data
            self.states[name] = copies

    def forward(self, tokens: Sequence[int]) -> np.ndarray:
        """Logits f32[V] of the last token; one call per block, so any number of tokens may be given."""
        if len(tokens) == 0:
            raise ValueError("a call needs at least one token")
        logits = np.zeros(0, np.float32)
        done = 0
        while done < len(tokens):
            room = self.module.block - self.position % self.module.block
            if self.control.exit_threshold > 0:
                room = 1  # each token finds its own depth
            chunk = np.asarray(tokens[done : done + room], np.int32)
            logits = self.call("decode" if len(chunk) == 1 else "prefill", chunk)
            done += len(chunk)
        return logits

    def call(self, role: Role, tokens: np.ndarray) -> np.ndarray:
        """One call of the graph of a role: logits f32[V] of the last of the tokens."""
        graph = self.module.entry(role)
        if len(tokens) > graph.tokens:
            raise ValueError(f"{graph.name} takes {graph.tokens} tokens at most, not {len(tokens)}")
        if self.context and self.position + len(tokens) > self.context:
            raise ValueError(f"{len(tokens)} tokens after {self.position} in a context of {self.context}")
        environment: Environment = {
            graph.inputs[0].name: tokens,
            graph.inputs[1].name: np.array(self.position, np.int32),
        }
        self._enter(graph, environment)
        self.position += len(tokens)
        return environment[graph.results[0].name].reshape(-1)

    def draft(self, tokens: Sequence[int]) -> np.ndarray:
        """Scores f32[S] of the token after those given, which come after the last that was run; a copy of the state is
        used, which stays as it is.
        """
        graph, states = self.module.entry("draft"), self.states
        self.states = {name: copies.copy() for name, copies in states.items()}
        try:
            for token in tokens:
                environment: Environment = {
                    graph.inputs[0].name: np.asarray([token], np.int32),
                    graph.inputs[1].name: np.array(self.position, np.int32),
                }
                with np.errstate(all="ignore"):
                    self._run(graph, environment, 0)
        finally:
            self.states = states
        return environment[graph.results[0].name].reshape(-1)

    def run(self, name: str, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One call of a graph of the role call.

        Args:
            name: of the graph.
            inputs: in its order, of the types and shapes that it says, but for the extent of the axis that varies.

        Returns:
            its results.
        """
        graph = self.module.graphs[name]
        environment: Environment = {v.name: x for v, x in zip(graph.inputs, inputs, strict=True)}
        self._enter(graph, environment)
        self.position += 1
        return [environment[value.name] for value in graph.results]

    def _enter(self, graph: Graph, environment: Environment) -> None:
        """Run the ops of a graph, given its inputs."""
        self._spread_states()
        self.iterations = self.module.loops[1] if self._unrolled else 1
        with np.errstate(all="ignore"):
            self._run(graph, environment, 0)
        self.deepest = max(self.deepest, self.iterations)

    @property
    def _unrolled(self) -> bool:
        return not any(op.name == "loop" for op in self.module.usual.ops)

    def _spread_states(self) -> None:
        """Give iterations that no call has reached yet the state of the deepest one that was."""
        if self.deepest == 0:
            return
        for copies in self.states.values():
            copies[self.deepest : self.control.loops] = copies[self.deepest - 1 : self.deepest]

    def state_bytes(self) -> bytes:
        """All states in module order, without padding: equal bytes mean equal state."""
        return b"".join(np.ascontiguousarray(s).tobytes() for s in self.states.values())

    def _run(self, body: Graph | Region, environment: Environment, iteration: int) -> None:
        done = self._done.get(id(body))
        if done is None:
            done = self._done[id(body)] = done_after(body)
        for op, names in zip(body.ops, done, strict=True):
            results = self._execute(op, environment, iteration)
            for value, array in zip(op.results, results, strict=True):
                environment[value.name] = array
            if self._observe is not None:
                self._observe(op, [environment[v.name] for v in op.operands], results)
            for name in names:  # of a deep model all values together would fill the memory
                del environment[name]

    def _execute(self, op: Op, environment: Environment, iteration: int) -> Sequence[np.ndarray]:
        if op.name == "constant":
            return (self.module.constants[op.text("name")].data,)
        if op.name in ("state.read", "state.write"):
            copies = self.states[op.text("name")]
            index = op.integer("iteration") if "iteration" in op.attributes else min(iteration, len(copies) - 1)
            if op.name == "state.read":
                return (copies[index] if op.results[0].name in self._overwritten else copies[index].copy(),)
            value = environment[op.operands[0].name]
            if value.base is not copies:
                copies[index] = value
            return ()
        if op.name == "loop":
            return (self._loop(op, op.regions[0], environment),)
        if op.name == "scan":
            return self._scan(Scan.of(op), environment, iteration)
        if op.name in ("walk", "replay"):
            return self._in_tree(op, environment, iteration)
        definition = OPS[op.name]
        reference = definition.reference
        if self._overwritten.intersection(op.operands[i].name for i in definition.in_place.values()):
            reference = definition.overwriting
        if reference is None:
            raise InternalError(f"op {op.name} has no reference")
        operands = [self._operand(op, v, environment) for v in op.operands]
        if op.name in PRODUCTS:
            self.activity.add(op, operands[0])
        return reference(op, operands)

    def _operand(self, op: Op, value: Value, environment: Environment) -> np.ndarray:
        """The array of an operand; packed weights unpacked, once for each array as long as there is room, or as a
        product asks for them."""
        array = environment[value.name]
        if not value.type.layout:
            return array
        rows, columns = op.integer("rows"), op.integer("columns")
        key = (id(array), rows, columns)
        if key not in self._unpacked:
            if self._room <= 0:
                return cast(np.ndarray, PackedRows(value.type, array, rows, columns))  # all that products do with one
            self._unpacked[key] = array, unpack(value.type, array, rows, columns)
            self._room -= self._unpacked[key][1].nbytes
        return self._unpacked[key][1]

    def _scan(self, scan: Scan, environment: Environment, iteration: int) -> Sequence[np.ndarray]:
        carried = [environment[v.name] for v in scan.begin]
        sequences = [environment[v.name] for v in scan.sequences]
        places = range(len(sequences[0]))
        made: dict[int, list[np.ndarray]] = {}
        for place in reversed(places) if scan.reverse else places:
            environment.update(zip((v.name for v in scan.carried), carried, strict=True))
            rows = (sequence[place : place + 1] for sequence in sequences)
            environment.update(zip((v.name for v in scan.rows), rows, strict=True))
            self._run(scan.region, environment, iteration)
            carried = [environment[v.name] for v in scan.following]
            made[place] = [environment[v.name] for v in scan.made]
        return (*carried, *(np.concatenate(rows) for rows in zip(*(made[place] for place in places), strict=True)))

    def _in_tree(self, op: Op, environment: Environment, iteration: int) -> Sequence[np.ndarray]:
        """The rows of a ``walk``; none of a ``replay``."""
        if self.tree is None:
            raise InternalError(f"{op.name} without a tree")
        run = partial(self._run_region, environment=environment)
        if op.name == "walk":
            found = Walk.of(op)
            sequences = [environment[v.name] for v in found.sequences]
            return self.tree.walk(self, found, sequences, int(environment[found.position.name]), iteration, run)
        again = Replay.of(op)
        for turn in range(self.control.loops if again.looped else 1):
            self.tree.replay(again, self.position, turn, run)
        return ()

    def _run_region(
        self, region: Region, arguments: Sequence[np.ndarray], iteration: int, environment: Environment
    ) -> Sequence[np.ndarray]:
        environment.update(zip((v.name for v in region.arguments), arguments, strict=True))
        self._run(region, environment, iteration)
        return [environment[v.name] for v in region.results]

    def verify(self, tokens: Sequence[int], parents: Sequence[int]) -> np.ndarray:
        """Logits f32[N, V] of the nodes of a tree, as if the tokens of a node's path had been run one by one.

        Nothing else may be run before ``commit``.

        Args:
            tokens: of the nodes, up to ``MOST_NODES``.
            parents: of each node one before it; -1 of node 0.
        """
        if self.control.exit_threshold > 0:
            raise ValueError("a tree has a fixed number of iterations")
        graph = self.module.entry("verify")
        tree = TreeRun(parents, graph.tokens)
        room = self.module.block - self.position % self.module.block
        if len(tokens) != len(parents) or max(tree.depths) >= room:
            raise ValueError(f"{len(tokens)} tokens of {len(parents)} nodes within {room} positions")
        self.tree = tree
        names = (v.name for v in graph.inputs)
        environment = dict(zip(names, (np.asarray(tokens, np.int32), np.array(self.position, np.int32)), strict=True))
        self._enter(graph, environment)
        return environment[graph.results[0].name].reshape(len(tokens), -1)

    def commit(self, path: Sequence[int]) -> None:
        """Make the state that after a path of the tree of the last ``verify``; it begins with node 0."""
        graph = self.module.entry("commit")
        if self.tree is None or not self.tree.is_path(path):
            raise ValueError(f"{list(path)} is no path of a tree that was verified")
        self.tree.path = list(path)
        position = np.array(self.position, np.int32)
        self._enter(graph, {graph.inputs[0].name: np.zeros(len(path), np.int32), graph.inputs[1].name: position})
        self.position += len(path)
        self.tree = None

    def _loop(self, op: Op, region: Region, environment: Environment) -> np.ndarray:
        carried = environment[op.operands[0].name]
        for iteration in range(self.control.loops):
            write, argument = region.arguments
            environment[write.name] = np.array(int(iteration == 0), np.int32)
            environment[argument.name] = carried
            self._run(region, environment, iteration)
            before, carried = carried, environment[region.results[0].name]
            self.iterations = iteration + 1
            threshold = self.control.exit_threshold
            enough = self.iterations >= max(2, fewest_iterations(op))
            if threshold > 0 and enough and converged(carried, before, threshold):
                break
        return carried


def _overwritten(module: Module) -> Iterator[str]:
    """Values that are the memory of their states: read once, by an op that overwrites all of its states."""
    for graph in module.graphs.values():
        ops = list(walk(graph.ops))
        reads = {op.results[0].name: dict(op.attributes) for op in ops if op.name == "state.read"}
        writes = {op.operands[0].name: dict(op.attributes) for op in ops if op.name == "state.write"}
        uses = Counter(value.name for value in (*used_values(graph.ops), *graph.results))
        once = [state for state in reads.values() if list(reads.values()).count(state) == 1]
        for op in ops:
            if OPS[op.name].overwriting is not None:
                pairs = [(op.operands[i].name, op.results[r].name) for r, i in OPS[op.name].in_place.items()]
                states = [(reads.get(a), writes.get(b), uses[a], uses[b]) for a, b in pairs]
                if all(read == written and read in once and (m, n) == (1, 1) for read, written, m, n in states):
                    yield from (a for a, _ in pairs)


def converged(now: np.ndarray, before: np.ndarray, threshold: float) -> bool:
    """Whether ``|now - before| <= threshold * |now|`` for every row, in the fixed order of ``lanes8_sum``.

    A row is all that belongs to one index of the first axis.
    """
    now, before = now.reshape(now.shape[0], -1), before.reshape(now.shape[0], -1)
    difference = now - before
    moved = np.sqrt(numpy_math.lanes8_sum(difference * difference))
    size = np.sqrt(numpy_math.lanes8_sum(now * now))
    return bool(np.all(moved <= np.float32(threshold) * size))


def evaluate(op: Op, operands: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """The results of one op that has a reference."""
    reference = OPS[op.name].reference
    if reference is None:
        raise InternalError(f"op {op.name} has no reference")
    with np.errstate(all="ignore"):
        return reference(op, operands)


def _static_shape(shape: Sequence[int | str]) -> tuple[int, ...]:
    return tuple(int(d) for d in shape)
