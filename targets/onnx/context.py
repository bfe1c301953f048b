"""What a translator sees: the module, the nodes it adds to, and the ONNX values of IR values and states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir.layouts import unpack
from chimerac.compiler.ir.module import Constant, Module, Op, Value
from chimerac.compiler.ir.ops.linear import wide
from chimerac.compiler.ir.types import TOKENS
from chimerac.targets.onnx.graph import Nodes
from chimerac.targets.onnx.states import StateValue

#: Adds the nodes of an op; the names of its results, none if the op is remembered only.
Translate: TypeAlias = "Callable[[Context, Op], tuple[str, ...]]"


@dataclass
class Context:
    """The translation of one graph, or of a region of it.

    Values of IR types i8 are held as float32 with integral values: they go into MatMulNBits, which takes floats. Those
    of type i32 that number rows, slots or positions are held as int64, which is what ONNX indexes with.

    Attributes:
        nodes: that translators add to.
        find: the translator of an op.
        values: IR value name → ONNX value.
        constants: IR value name → name of the module's constant that it refers to.
        states: state name → its value so far.
        packed: weights that were packed already, by what they were packed from.
    """

    module: Module
    nodes: Nodes
    find: Callable[[Op], Translate]
    values: dict[str, str] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    states: dict[str, StateValue] = field(default_factory=dict)
    packed: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def inside(self, nodes: Nodes, states: Mapping[str, StateValue]) -> Context:
        """The context of a region whose nodes are ``nodes``; values of the surrounding graph stay usable."""
        return Context(
            self.module, nodes, self.find, dict(self.values), dict(self.constants), dict(states), self.packed
        )

    def translate(self, ops: Sequence[Op]) -> None:
        """Translate ops in order."""
        for op in ops:
            results = self.find(op)(self, op)
            if results:
                self.values.update((v.name, name) for v, name in zip(op.results, results, strict=True))

    def value(self, value: Value) -> str:
        """The ONNX value of an IR value; a constant becomes an initializer on first use."""
        if value.name in self.values:
            return self.values[value.name]
        name = self.constants[value.name]
        if value.type.layout:
            raise InternalError(f"constant {name} is packed as {value.type.layout}, which ONNX cannot read")
        return self.weight(name, "", lambda: [plain(self.module.constants[name])])[0]

    def narrow(self, value: Value) -> tuple[str, bool]:
        """The ONNX value of a float matrix, and whether it is float16, which ``widened`` makes float32."""
        held = self.constants.get(value.name)
        if held is None or value.type.dtype != "f16":
            return self.value(value), False
        return self.weight(held, "f16", lambda: [self.module.constants[held].data])[0], True

    def widened(self, value: Value) -> str:
        """A float matrix as float32."""
        name, is_narrow = self.narrow(value)
        return self.nodes.cached(("widened", name), lambda: (self.nodes.to_float(name),))[0] if is_narrow else name

    def initial(self, constant: str) -> str:
        """The value that a state starts from."""
        return self.weight(constant, "", lambda: [plain(self.module.constants[constant])])[0]

    def weight(self, constant: str, kind: str, make: Callable[[], list[np.ndarray]]) -> list[str]:
        """Initializers made from a constant of the module, once however often it is used."""
        key = (constant, kind)
        if key not in self.packed:
            arrays = make()
            hint = f"{constant}.{kind}" if kind else constant
            self.packed[key] = [
                self.nodes.pool.weight(a, hint if len(arrays) == 1 else f"{hint}.{i}") for i, a in enumerate(arrays)
            ]
        return self.packed[key]

    def constant_name(self, value: Value) -> str:
        """The module's constant that a value refers to; InternalError if it is computed."""
        if value.name not in self.constants:
            raise InternalError(f"{value} must be a constant")
        return self.constants[value.name]

    def array(self, value: Value, rows: int, columns: int) -> np.ndarray:
        """The data of a weight [..., rows, columns] or of its scales, in plain order."""
        return unpack(value.type, self.module.constants[self.constant_name(value)].data, rows, columns)

    def static(self, value: Value) -> int | None:
        """The number in an i32[] value, if it is a constant."""
        name = self.constants.get(value.name)
        return None if name is None else int(self.module.constants[name].data)

    def index(self, value: Value) -> str:
        """An i32[] value as int64[]."""
        name = self.value(value)
        return self.nodes.cached(("int64", name), lambda: (self.nodes.to_int(name),))[0]

    def flag(self, value: Value) -> str:
        """Whether an i32[] value is not 0, as bool[]."""
        name = self.index(value)
        return self.nodes.cached(
            ("flag", name), lambda: (self.nodes.op("Not", self.nodes.op("Equal", name, self.nodes.i64(0))),)
        )[0]


def shape_of(value: Value) -> list[int]:
    """The shape for a Reshape, -1 for the tokens."""
    return [-1 if d == TOKENS else int(d) for d in value.type.shape]


def last(value: Value) -> int:
    """The extent of the last axis."""
    return int(value.type.shape[-1])


def rows_like(context: Context, rows: str, like: Value, *columns: int) -> str:
    """Rows [R, ...] in the leading shape of a value, with these extents after it."""
    lead = shape_of(like)[:-1]
    return rows if len(lead) == 1 and len(columns) == 1 else context.nodes.reshape(rows, *lead, *columns)


def one_result(op: Op) -> Value:
    """The result of an op that has one."""
    (result,) = op.results
    return result


def plain(constant: Constant) -> np.ndarray:
    """The numbers of a constant in a type that ONNX computes with."""
    if constant.type.dtype == "bf16":
        return wide(constant.data)
    return constant.data if constant.type.dtype == "i32" else constant.data.astype(np.float32)
