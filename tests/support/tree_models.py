"""Small random models whose layers mean the same token by token, each with states of its own: for trees of tokens."""

from __future__ import annotations

import numpy as np
from random_models import MODEL_CONSTANTS, MODEL_STATES, ModelMaker
from random_modules import HEAD, ROW, ROWS
from token_trees import Tree, random_tree

from chimerac.compiler.ir.module import Constant, Graph, Module, Op, Region, State, Value
from chimerac.compiler.ir.types import TensorType, f32, i32
from chimerac.compiler.ir.verify import verify

KINDS = (
    "ternary", "int8", "delta", "linear_attention", "mlstm", "titans", "attention", "cached", "whole", "experts",
    "conv", "recurrence", "turn", "number",
)  # fmt: skip
BLOCK, LOOPS, CONTEXT, VOCABULARY = 4, 3, 64, 8
ONCE = ("anchor", "memory", "momentum", "ring_k", "ring_v")  #: written in the first iteration only


class TreeMaker(ModelMaker):
    """Draws layers with a generator of numpy."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(lambda strategy: None)
        self.rng, self.layer, self.looped = rng, 0, False
        self.states = {}

    def pick(self, values: list[Value]) -> Value:
        return values[-1 - int(self.rng.integers(min(3, len(values))))]

    def _flag(self) -> Value:
        return self.flags[-1] if self.looped else self.constant("yes")

    def own(self, name: str) -> str:
        """The name of this layer's state of a kind."""
        name, kind = f"{name}{self.layer}", name
        known = {**MODEL_STATES, "caches_k": State(f32(1, CONTEXT, HEAD)), "caches_v": State(f32(1, CONTEXT, HEAD))}
        known |= {"hidden": State(ROW)}
        state = known[kind]
        self.states[name] = State(state.type, LOOPS if self.looped and kind not in ONCE else 1, state.initial)
        return name

    def _read_state(self, name: str) -> Value:
        kept = self.own(name)
        return self.append("state.read", (), (self.states[kept].type,), {"name": kept})[0]

    def _write_state(self, name: str, value: Value) -> None:
        super()._write_state(self.own(name), value)

    def layers(self, count: int, *, loop: bool) -> None:
        for _ in range(count):
            self.layer += 1
            kind = str(self.rng.choice([*KINDS, *["loop"] * 3 * loop]))
            getattr(self, f"_{kind}" if kind != "loop" else "_looped_layers")()

    def _linear_attention(self) -> None:
        q, k, v = self._heads(), self._heads(), self._heads()
        decay = self.emit("neg", self.emit("softplus", self._gate())[0])[0]
        y, state = self.emit("gated_linear_attention", q, k, v, decay, self._read_state("delta"), scale=0.5)
        self._write_state("delta", state)
        self._flat(y)

    def _whole(self) -> None:
        k, v = (self.emit("slice", self._heads(), start=0, stop=1, axis=1)[0] for _ in range(2))
        caches = [self._read_state(f"caches_{side}") for side in "kv"]
        y, *after = self.emit("cached_attention", self._heads(), k, v, *caches, self.flags[0], scale=0.5, window=0)
        for side, value in zip("kv", after, strict=True):
            self._write_state(f"caches_{side}", value)
        self._flat(y)

    def _conv(self) -> None:
        y, tail = self.emit("causal_conv", self.pick(self.of(ROWS)), self.constant("taps"), self._read_state("tail"))
        self._write_state("tail", tail)
        self.values.append(self.values.pop(self.values.index(y)))

    def _recurrence(self) -> None:
        """A scan, as steps of one's own become."""
        begin, rows = self._read_state("hidden"), self.pick(self.of(ROWS))
        carried, row = Value(self.name(), ROW), Value(self.name(), ROW)
        outer, self.ops = self.ops, []
        (after,) = self.emit("tanh", self.emit("sub", row, carried)[0])
        region = Region((carried, row), tuple(self.ops), (after, after))
        self.ops = outer
        self.values = [v for v in self.values if v not in (after, *[op.results[0] for op in region.ops])]
        end, stacked = Value(self.name(), ROW), Value(self.name(), ROWS)
        self.ops.append(Op("scan", (begin, rows), (end, stacked), {"carried": 1}, (region,)))
        self.values += [stacked]
        self._write_state("hidden", end)

    def _turn(self) -> None:
        self._flat(self.emit("rope", self._heads(), self.flags[0], theta=100.0)[0])

    def _number(self) -> None:
        self._places()

    def _looped_layers(self) -> None:
        carried = self.pick(self.of(ROWS))
        write, inside = Value(self.name(), i32()), Value(self.name(), ROWS)
        outer, self.ops, known, flags = self.ops, [], list(self.values), list(self.flags)
        self.values.append(inside)
        self.flags.append(write)
        self.looped = True
        self.layers(int(self.rng.integers(1, 4)), loop=False)
        self.looped = False
        result = self.emit("silu", self.of(ROWS)[-1])[0]
        region = Region((write, inside), tuple(self.ops), (result,))
        self.ops, self.values, self.flags = outer, known, flags
        output = Value(self.name(), ROWS)
        attributes: dict[str, int | float | str] = {"default": 2, "maximum": LOOPS, "exit_threshold": 0.0}
        self.ops.append(Op("loop", (carried,), (output,), attributes, (region,)))
        self.values.append(output)


def tree_model(seed: int) -> Module:
    """A random model of one to five layers, of which some may be looped."""
    maker = TreeMaker(np.random.default_rng(seed))
    tokens, position = Value("tokens", i32("T")), Value("position", i32())
    maker.flags = [position]
    table = maker.constant("table")
    x = maker.emit("embedding", tokens, table)
    maker.values = [*x]
    maker.layers(int(maker.rng.integers(1, 6)), loop=True)
    result = maker.emit("add", maker.of(ROWS)[-1], x[0])[0]
    graph = Graph("main", (tokens, position), tuple(maker.ops), (result,), BLOCK)
    constants = {name: Constant(TensorType.of(data), data) for name, data in MODEL_CONSTANTS.items()}
    loops = (2, LOOPS) if any(op.name == "loop" for op in maker.ops) else (1, 1)
    module = Module("random", {"main": graph}, constants, dict(maker.states), BLOCK, loops)
    verify(module)
    return module


def calls_of(module: Module, seed: int, rounds: int = 9, context: int = CONTEXT) -> list[tuple[int, ...] | Tree]:
    """Calls with tokens, and trees in between."""
    rng = np.random.default_rng(seed)
    first = tuple(rng.integers(0, VOCABULARY, int(rng.integers(1, 4))).tolist())
    calls: list[tuple[int, ...] | Tree] = [first]
    position = len(first)
    while len(calls) < rounds and position + module.block < context:
        room = module.block - position % module.block
        tree = random_tree(rng, VOCABULARY, int(rng.integers(1, 21)), room)
        calls.append(tree)
        position += len(tree.path)
        if rng.random() < 0.3:
            calls.append((int(rng.integers(VOCABULARY)),))
            position += 1
    return calls
