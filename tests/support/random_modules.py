"""Small random modules: element-wise graphs with broadcasting and repeated parts, states, in-place ops and a loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from hypothesis import strategies as st
from ir_tools import draw as numbers

from chimerac.compiler.ir.module import Constant, Graph, Module, Op, Region, State, Value
from chimerac.compiler.ir.ops import OPS, TypeRuleError
from chimerac.compiler.ir.types import TensorType, f32, i32
from chimerac.compiler.ir.verify import verify

WIDTH, HEADS, HEAD = 8, 2, 4
ROWS = f32("T", WIDTH)
UNARY = ("neg", "abs", "silu", "sigmoid", "tanh", "softplus", "gelu", "zero")
BINARY = ("add", "sub", "mul", "maximum", "minimum")
RESHAPES = {ROWS: f"T,{HEADS},{HEAD}", f32("T", HEADS, HEAD): f"T,{WIDTH}", f32(WIDTH): "2,4", f32(3, WIDTH): "8,3"}
#: An order of three axes → the one that undoes it.
ORDERS = {"1,0,2": "1,0,2", "2,0,1": "1,2,0", "1,2,0": "2,0,1"}
REDUCTIONS: dict[str, dict[str, int | float | str]] = {
    **{name: {} for name in ("reduce_sum", "reduce_max", "reduce_min", "argmax", "softmax", "log_softmax", "cumsum")},
    "layer_norm": {"eps": 1e-5},
    "sort": {"descending": 1},
}
ROW = f32(1, WIDTH)
#: What a scan may carry, and what is in one: things of the whole call as well.
CARRIED = (f32(WIDTH), f32(3, WIDTH), f32(2, HEAD), f32(1, WIDTH))
IN_SCANS = ("unary", "unary", "binary", "binary", "row_product", "row_norm", "row_parts", "row_shape", "constant")
MATRICES = f32(HEADS, 2, HEAD, HEAD)

CONSTANTS = {
    "table": numbers(1, 10, WIDTH),
    "row": numbers(2, WIDTH),
    "pair": numbers(3, 2, HEAD),
    "one": np.array([1.0], np.float32),
    "same": numbers(2, WIDTH),  # the same bytes as row
    "taps": numbers(4, WIDTH, 4),
    "weight": numbers(5, WIDTH, WIDTH, scale=0.3),
    "start": numbers(6, 3, WIDTH),
    "matrices": numbers(7, HEADS, 2, HEAD, HEAD),
    "places": np.array([3, 1, 7, 0, 0, 6, 2, 5], np.int32),
    "seven": np.array(7, np.int32),
    "yes": np.array(1, np.int32),
    "no": np.array(0, np.int32),
}
STATES = {
    "tail": State(f32(3, WIDTH), 1, "start"),
    "tails": State(f32(3, WIDTH), 3),
    "vector": State(f32(WIDTH), 1),
    "vectors": State(f32(WIDTH), 3),
    "anchor": State(MATRICES, 1, "matrices"),
    "memory": State(MATRICES, 1),
}


class Maker:
    """Draws ops: ``values`` may be used as operands, and of ``flags`` the first is the position."""

    constants: Mapping[str, np.ndarray] = CONSTANTS
    states: Mapping[str, State] = STATES
    quantised: Mapping[str, int] = {"group": 8, "block": 4}

    def __init__(self, draw: Callable[..., object]) -> None:
        self.draw = draw
        self.count = 0
        self.ops: list[Op] = []
        self.values: list[Value] = []
        self.flags: list[Value] = []

    def pick(self, values: list[Value]) -> Value:
        return values[-1 - int(str(self.draw(st.integers(0, len(values) - 1))))]  # shrinks to the newest

    def of(self, *types: TensorType) -> list[Value]:
        return [v for v in self.values if v.type in types]

    def name(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def emit(self, name: str, *operands: Value, **attributes: int | float | str) -> list[Value]:
        types = OPS[name].infer([o.type for o in operands], attributes)
        return self.append(name, operands, types, attributes)

    def append(
        self,
        name: str,
        operands: tuple[Value, ...],
        types: tuple[TensorType, ...],
        attributes: dict[str, int | float | str],
    ) -> list[Value]:
        results = [Value(self.name(), t) for t in types]
        self.ops.append(Op(name, operands, tuple(results), attributes))
        self.values += results
        return results

    def constant(self, name: str) -> Value:
        return self.append("constant", (), (TensorType.of(self.constants[name]),), {"name": name})[0]

    def step(self, *, in_loop: bool) -> None:
        kinds = ["unary", "binary", "binary", "constant", "repeat", "reshape", "read", "write", "conv", "anchor"]
        kinds += ["linear", "columns", "norm", "compare", "integers", "turn", "part", "reduce", "product", "places"]
        kinds += ["scan"] if in_loop else ["scan", "loop"]
        kind = self.draw(st.sampled_from(kinds))
        getattr(self, f"_{kind}")()

    def _unary(self) -> None:
        floats = [v for v in self.values if v.type.dtype == "f32"]
        self.emit(str(self.draw(st.sampled_from(UNARY))), self.pick(floats))

    def _binary(self) -> None:
        floats = [v for v in self.values if v.type.dtype == "f32" and v.type != MATRICES]
        try:
            self.emit(str(self.draw(st.sampled_from(BINARY))), self.pick(floats), self.pick(floats))
        except TypeRuleError:
            self._unary()

    def _constant(self) -> None:
        self.constant(str(self.draw(st.sampled_from(["row", "pair", "one", "same", "start", "matrices"]))))

    def _repeat(self) -> None:
        pure = [op for op in self.ops if op.name not in ("loop", "scan", "state.read", "state.write")]
        if pure:
            op = pure[-1 - int(str(self.draw(st.integers(0, len(pure) - 1))))]
            self.append(op.name, op.operands, tuple(r.type for r in op.results), dict(op.attributes))

    def _reshape(self) -> None:
        source = self.pick(self.of(*RESHAPES))
        self.emit("reshape", source, shape=RESHAPES[source.type])

    def _read(self) -> None:
        name = str(self.draw(st.sampled_from(list(STATES))))
        self.append("state.read", (), (STATES[name].type,), {"name": name})

    def _write(self) -> None:
        names = [n for n, s in STATES.items() if self.of(s.type)]
        if names:
            name = str(self.draw(st.sampled_from(names)))
            self.append("state.write", (self.pick(self.of(STATES[name].type)),), (), {"name": name})

    def _conv(self) -> None:
        name = str(self.draw(st.sampled_from(["tail", "tails"])))
        self.append("state.read", (), (STATES[name].type,), {"name": name})
        tail = self.pick(self.of(f32(3, WIDTH)))
        other_name = self.emit("reshape", tail, shape=RESHAPES[tail.type]) if self.draw(st.booleans()) else []
        result = self.emit("causal_conv", self.pick(self.of(ROWS)), self.constant("taps"), tail)[1]
        for value in other_name:
            self.emit("neg", value)
        if self.draw(st.booleans()):
            self.append("state.write", (result,), (), {"name": name})

    def _anchor(self) -> None:
        names = [str(self.draw(st.sampled_from(["anchor", "memory"]))) for _ in range(2)]
        reads = [self.append("state.read", (), (MATRICES,), {"name": n})[0] for n in names]
        position = self.flags[0]
        write = self.flags[-1] if len(self.flags) > 1 else self.constant(str(self.draw(st.sampled_from(["yes", "no"]))))
        result = self.emit("titans_anchor", *reads, position, write, chunk=4)[0]
        if self.draw(st.booleans()):
            self.append("state.write", (result,), (), {"name": names[0]})

    def _linear(self) -> None:
        self.emit("linear", self.pick(self.of(ROWS)), self.constant("weight"))

    def _norm(self) -> None:
        self.emit("rms_norm", self.pick(self.of(ROWS)), self.constant("row"), eps=1e-6)
        if self.draw(st.booleans()):
            self.emit("ternary_linear", self.values[-1], self.constant("weight"), **self.quantised)

    def _columns(self) -> None:
        source = self.pick(self.of(ROWS))
        left, right = (self.emit("slice", source, start=a, stop=b)[0] for a, b in ((0, 3), (3, WIDTH)))
        self.emit("concat", right, left)

    def _compare(self) -> None:
        left, right = self.pick(self.of(ROWS)), self.pick(self.of(ROWS, f32(WIDTH)))
        name = str(self.draw(st.sampled_from(["less", "less_equal", "equal", "not_equal"])))
        (flags,) = self.emit(name, left, right)
        (other,) = self.emit("less", right, left)
        (both,) = self.emit(str(self.draw(st.sampled_from(["logical_or", "logical_xor", "int_and"]))), flags, other)
        self.emit("where", both, left, right)

    def _integers(self) -> None:
        (whole,) = self.emit("to_int", self.emit("mul", self.pick(self.of(ROWS)), self.constant("row"))[0])
        name = str(self.draw(st.sampled_from(["int_mod", "int_floor_div", "int_maximum", "int_less", "int_mul"])))
        (result,) = self.emit(name, whole, self.constant(str(self.draw(st.sampled_from(["seven", "places"])))))
        self.emit("tanh", self.emit("to_float", result)[0])

    def _turn(self) -> None:
        (apart,) = self.emit("reshape", self.pick(self.of(ROWS)), shape=f"T,{HEADS},{HEAD}")
        order = str(self.draw(st.sampled_from(list(ORDERS))))
        (turned,) = self.emit("transpose", apart, perm=order)
        self.emit("transpose", self.emit("cos", turned)[0], perm=ORDERS[order])
        self.emit("reshape", self.values[-1], shape=f"T,{WIDTH}")

    def _part(self) -> None:
        source = self.pick(self.of(ROWS))
        kind = self.draw(st.sampled_from(["gather", "flip", "pad", "spread"]))
        if kind == "gather":
            self.emit("gather", source, self.constant("places"), axis=1)
        elif kind == "flip":
            self.emit("slice", source, start=WIDTH - 1, stop=-1, axis=1, step=-1)
        elif kind == "pad":
            (part,) = self.emit("slice", source, start=0, stop=WIDTH - 3)
            self.emit("pad", part, axis=1, before=1, after=2, value=0.5)
        else:
            self.emit("broadcast", self.emit("slice", source, start=2, stop=3)[0], shape=f"T,{WIDTH}")

    def _reduce(self) -> None:
        source = self.pick(self.of(ROWS))
        name = str(self.draw(st.sampled_from(list(REDUCTIONS))))
        result = self.emit(name, source, **REDUCTIONS[name])[0]
        if result.type.dtype == "i32":
            (result,) = self.emit("to_float", result)
        self.emit("sub", source, result)

    def _product(self) -> None:
        left, right = (self.emit("reshape", self.pick(self.of(ROWS)), shape=f"T,{HEADS},{HEAD}")[0] for _ in range(2))
        (product,) = self.emit("matmul", self.emit("tanh", left)[0], right)
        (flat,) = self.emit("reshape", product, shape=f"T,{HEADS * HEADS}")
        self.emit("concat", flat, flat)

    def _places(self) -> None:
        like = self.pick(self.of(ROWS))
        (places,) = self.emit("int_add", self.emit("iota", like)[0], self.flags[0])
        (column,) = self.emit("reshape", self.emit("sin", self.emit("to_float", places)[0])[0], shape="T,1")
        self.emit("mul", like, column)

    def _loop(self) -> None:
        carried = self.pick(self.of(ROWS))
        write, inside = Value(self.name(), i32()), Value(self.name(), ROWS)
        outer, self.ops = self.ops, []
        known, flags = list(self.values), list(self.flags)
        self.values.append(inside)
        self.flags.append(write)
        for _ in range(int(str(self.draw(st.integers(1, 6))))):
            self.step(in_loop=True)
        made = {r.name for op in self.ops for r in op.results}
        own = [v for v in self.of(ROWS) if v.name in made]
        result = self.pick(own) if own else self.emit("silu", inside)[0]
        region = Region((write, inside), tuple(self.ops), (result,))
        self.ops, self.values, self.flags = outer, known, flags
        output = Value(self.name(), ROWS)
        attributes: dict[str, int | float | str] = {"default": 2, "maximum": 3, "exit_threshold": 0.0}
        self.ops.append(Op("loop", (carried,), (output,), attributes, (region,)))
        self.values.append(output)

    def _scan(self) -> None:
        """Carries a row and perhaps something else from token to token, or back."""
        self.constant(str(self.draw(st.sampled_from(["row", "start"]))))
        begin = [self.pick([v for v in self.values if v.type in CARRIED]) for _ in range(self.number(0, 2))]
        sequences = [self.pick(self.of(ROWS)) for _ in range(self.number(1, 2))]
        carried = [Value(self.name(), v.type) for v in begin]
        rows = [Value(self.name(), ROW) for _ in sequences]
        outer, self.ops = self.ops, []
        known = list(self.values)
        self.values += [*carried, *rows]
        for _ in range(self.number(1, 7)):
            getattr(self, f"_{self.draw(st.sampled_from(IN_SCANS))}")()
        following = [self.pick(self.of(v.type)) for v in begin]
        made = [self.pick(self.of(ROW)) for _ in range(self.number(1, 2))]
        region = Region((*carried, *rows), tuple(self.ops), (*following, *made))
        self.ops, self.values = outer, known
        results = [Value(self.name(), kind) for kind in (*(v.type for v in begin), *[ROWS] * len(made))]
        attributes: dict[str, int | float | str] = {"carried": len(begin)}
        attributes |= {"reverse": 1} if self.draw(st.booleans()) else {}
        self.ops.append(Op("scan", (*begin, *sequences), tuple(results), attributes, (region,)))
        self.values += results

    def number(self, low: int, high: int) -> int:
        return int(str(self.draw(st.integers(low, high))))

    def _row_product(self) -> None:
        name = str(self.draw(st.sampled_from(["linear", "ternary_linear"])))
        attributes = self.quantised if name == "ternary_linear" else {}
        self.emit(name, self.pick(self.of(ROW)), self.constant("weight"), **attributes)

    def _row_norm(self) -> None:
        self.emit("rms_norm", self.pick(self.of(ROW)), self.constant("row"), eps=1e-6)

    def _row_parts(self) -> None:
        source = self.pick(self.of(ROW))
        left, right = (self.emit("slice", source, start=a, stop=b)[0] for a, b in ((0, 3), (3, WIDTH)))
        self.emit("concat", right, left)

    def _row_shape(self) -> None:
        self.emit("neg", self.emit("reshape", self.pick(self.of(ROW)), shape="2,4")[0])
        (flat,) = self.emit("reshape", self.values[-1], shape="8")
        self.emit("broadcast", flat, shape="1,8")


@st.composite
def modules(draw: Callable[..., object], most: int = 14) -> Module:
    """Verified modules with a graph ``main`` from tokens to [T, 8]; block 4, loops 2 of at most 3."""
    return build_module(Maker(draw), most)


def build_module(maker: Maker, most: int) -> Module:
    """A module of 1 to ``most`` steps of a maker."""
    tokens, position = Value("tokens", i32("T")), Value("position", i32())
    maker.flags = [position]
    table = maker.constant("table")
    maker.values.append(tokens)
    maker.emit("embedding", tokens, table)
    maker.values = [v for v in maker.values if v not in (tokens, table)]
    for _ in range(int(str(maker.draw(st.integers(1, most))))):
        maker.step(in_loop=False)
    result = maker.pick(maker.of(ROWS))
    graph = Graph("main", (tokens, position), tuple(maker.ops), (result,), 4)
    constants = {name: Constant(TensorType.of(data), data) for name, data in maker.constants.items()}
    looped = any(op.name == "loop" for op in maker.ops)
    module = Module("random", {"main": graph}, constants, dict(maker.states), 4, (2, 3) if looped else (1, 1))
    verify(module)
    return module
