"""Values of the IR while a graph is imported: constants, states, numbers, and the ops that are collected."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Attribute, Constant, Op, Parts, Region, State, Value
from chimerac.compiler.ir.ops import OPS, TypeRuleError
from chimerac.compiler.ir.quantised import Kind, Quantised
from chimerac.compiler.ir.types import TOKENS, Dim, TensorType, f32, i32
from chimerac.frontends.export.arrays import array_of
from chimerac.frontends.export.evaluated import Evaluated
from chimerac.frontends.export.functional import Mutations
from chimerac.frontends.export.integers import integer_weight
from chimerac.frontends.export.parts import ModelParts

#: What is taken as it is; integers of 64 bits only where they fit 32.
KEPT = (torch.float32, torch.int32, torch.int64, torch.bool)


@dataclass
class Scope:
    """Ops being collected for the graph or for a looped region."""

    ops: list[Op] = field(default_factory=list)
    reads: dict[str, Value] = field(default_factory=dict)  #: state name → its value read in this scope
    constants: dict[str, Value] = field(default_factory=dict)
    written: list[tuple[str, Value]] = field(default_factory=list)


class Values:
    """What handlers ask (``handler.Importer``), but for the graph that is walked.

    Attributes:
        computed: parameters whose values come from here when they are needed, not from the module, by name.
        notes: what was changed to import it, one line each.
        whole_sequence: whether the module sees a whole text at once, of which a call has a part (whole_sequence.py).
        evaluated: values of nodes that no input decides.
        runtime_states: names of buffers that are states though forward changes none of them: runtimes do.
    """

    whole_sequence = False

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        mutations: Mutations,
        computed: Mapping[str, Parts],
        runtime_states: Collection[str] = (),
    ) -> None:
        self.program, self.mutations, self.computed = program, mutations, computed
        self.scopes = [Scope()]
        self.values: dict[str, Any] = {}  # fx node name → Value, tuple of Values, or a Python number
        self.inputs: list[Value] = []
        self.taken: set[str] = set()
        self.constants: dict[str, Constant] = {}
        self.states: dict[str, State] = {}
        self.named: dict[str, str] = {}  # fx placeholder name → constant or state name
        self.producers: dict[str, tuple[Op, int]] = {}
        self.state_data: dict[str, np.ndarray] = {}
        self.owner = ""  #: module path of the parameter or buffer used last
        self.parts = ModelParts()
        self.runtime_states = runtime_states
        self.mutable = {target for targets in self.mutations.values() for target in targets} | {*runtime_states}
        self.evaluated = Evaluated(program, self.mutable)
        self.ended: set[str] = set()  #: values that ended with their looped region
        self.notes: list[str] = []
        self._position: Value | None = None

    def _follow(self, node: Node) -> None:
        """Remember whose parameter or buffer a node uses: a module called by other methods than forward leaves no
        trace of its own."""
        for used in node.all_input_nodes:
            name = self.named.get(used.name, "")
            if "." in name and name not in self.runtime_states:
                self.owner = name.rpartition(".")[0]

    def where(self, node: Node) -> str:
        """Module path and source line of a node, for messages: ``layers.3.mixer, model.py:42``."""
        path = self._path(node)
        lines = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
        place = f"{lines[-1][0].rsplit('/', 1)[-1]}:{lines[-1][1]}" if lines else ""
        return ", ".join(part for part in (path, place) if part)

    def _path(self, node: Node) -> str:
        """The path of the module that a node belongs to."""
        stack = node.meta.get("nn_module_stack") or {}
        return next((str(entry[0]) for entry in reversed(list(stack.values())) if entry[0]), self.owner)

    def fresh(self, hint: str) -> str:
        name, count = re.sub(r"\W", "_", hint), 1
        while name in self.taken:
            count += 1
            name = f"{re.sub(r'[^0-9A-Za-z_]', '_', hint)}_{count}"
        self.taken.add(name)
        return name

    def emit(
        self,
        name: str,
        operands: Sequence[Value],
        attributes: Mapping[str, Attribute],
        node: Node,
        *,
        types: Sequence[TensorType] | None = None,
        regions: tuple[Region, ...] = (),
    ) -> Any:
        """Append an op; its result, or a tuple of results when it has several."""
        try:
            types = types or OPS[name].infer([v.type for v in operands], attributes)
        except TypeRuleError as error:
            raise UserError("CHM213", f"{name}: {error}", hint=self.where(node)) from None
        results = tuple(Value(self.fresh(node.name), t) for t in types)
        part = self.parts.of(self._path(node), look_up=OPS[name].work.one_row)
        op = Op(name, tuple(operands), results, dict(attributes), regions, part, self.where(node))
        self.scopes[-1].ops.append(op)
        self.producers.update((r.name, (op, i)) for i, r in enumerate(results))
        return results[0] if len(results) == 1 else results

    def value(self, argument: Any, dtype: str = "f32") -> Value:
        """The IR value of an fx argument: a node, or a number, which becomes a constant of the element type."""
        if isinstance(argument, Node):
            if argument.name in self.named:
                return self._named(self.named[argument.name])
            found = self.values[argument.name]
            if isinstance(found, Value):
                if found.name in self.ended:
                    raise UserError("CHM214", "a looped region's value is used after it; only loop_end passes one on")
                return found
            if found == TOKENS:
                if self.whole_sequence:
                    message = "a number is computed from how long the text is, which no call of some tokens knows"
                    raise UserError("CHM211", message, hint=self.where(argument))
                count: Value = self.emit("token_count", [self.dynamic(argument)], {}, argument)
                return count
            argument = found
        if isinstance(argument, bool | int | float):
            if dtype == "i32":
                return self._integer(argument)
            return self._constant(f"scalar.{float(argument)!r}", np.array([argument], np.float32))
        raise UserError("CHM211", f"an argument of type {type(argument).__name__} has no meaning in the IR")

    def _integer(self, number: float) -> Value:
        """An i32[] constant."""
        if int(number) != number or not -(2**31) <= number < 2**31:
            raise UserError("CHM216", f"{number} is a number of integers, and no integer of 32 bits")
        return self._constant(f"integer.{int(number)}", np.array(int(number), np.int32))

    def constant(self, hint: str, data: np.ndarray) -> Value:
        """A constant that the module does not name."""
        count = 1
        while (name := f"{hint}.{count}") in self.constants or name in self.program.state_dict:
            if name in self.constants and np.array_equal(self.constants[name].data, data):
                break
            count += 1
        return self._constant(name, data)

    def dynamic(self, node: Node) -> Value:
        """A value that says how many tokens there are."""
        for value in self.inputs:
            if value.type.is_dynamic:
                return value
        raise UserError("CHM215", f"{node.name} has as many elements as no input", hint=self.where(node))

    def position(self) -> Value:
        """Where the first token of a call is in the text, i32[]."""
        if self._position is None:
            self.taken.add("position")
            self._position = Value("position", i32())
        return self._position

    def carried(self, hint: str, kind: TensorType, initial: np.ndarray | None = None) -> tuple[str, Value]:
        """A state that the module does not name: its name, and its value at the beginning of a call."""
        count = 1
        name = hint
        while name in self.states or name in self.program.state_dict:
            count += 1
            name = f"{hint}.{count}"
        start = None
        if initial is not None:
            start = f"{name}.start"
            self.constants[start] = Constant(kind, initial)
        self.states[name] = State(kind, 1, start)
        value = Value(self.fresh(name), kind)
        self.scopes[-1].ops.append(Op("state.read", (), (value,), {"name": name}))
        return name, value

    def carry(self, name: str, value: Value) -> None:
        """What a state that ``carried`` made is for the next call."""
        self.scopes[-1].written.append((name, value))

    def number(self, argument: Any) -> Any:
        """A number that is an argument of a node: itself, ``TOKENS``, or the node whose number is computed."""
        found = self.values.get(argument.name) if isinstance(argument, Node) else argument
        return argument if isinstance(found, Value) or found is None else found

    def extent(self, size: Any, node: Node) -> Any:
        """``TOKENS`` where a size of PyTorch is that."""
        if re.fullmatch(r"s\d+", str(size)):
            return TOKENS
        raise self._varying(size, node)

    def producer(self, value: Value) -> Op | None:
        """The op that made a value."""
        return self.producers[value.name][0] if value.name in self.producers else None

    def shape(self, node: Node) -> tuple[Dim, ...]:
        """The shape of a node's tensor."""
        return self.dims(node.meta["val"], node)

    def dims(self, tensor: Any, node: Node) -> tuple[Dim, ...]:
        """The shape of one of the tensors that a node gives."""
        dims: list[Dim] = []
        for extent in tensor.shape:
            if isinstance(extent, int):
                dims.append(extent)
            elif re.fullmatch(r"s\d+", str(extent)):
                dims.append(TOKENS)
            else:
                raise self._varying(extent, node)
        return tuple(dims)

    def _varying(self, extent: Any, node: Node) -> UserError:
        message = f"{node.name} has {extent} elements along one axis"
        return UserError("CHM215", message, hint="only T may vary")

    def shape_of(self, argument: Any) -> tuple[Dim, ...]:
        """The shape of a tensor argument, () of a number."""
        return self.shape(argument) if isinstance(argument, Node) else ()

    def _tensor(self, target: str) -> torch.Tensor:
        program = self.program
        found = program.state_dict.get(target)
        if found is None:
            found = program.constants[target]
        assert isinstance(found, torch.Tensor)
        return found

    def _named(self, target: str) -> Value:
        """The value of a parameter, a constant buffer or a state, read in the innermost scope."""
        if target in self.mutable:
            scope = self.scopes[-1]
            if target not in scope.reads:
                kind = TensorType.of(self._state_initial(target))
                value = Value(self.fresh(target), kind)
                scope.ops.append(Op("state.read", (), (value,), {"name": target}))
                scope.reads[target] = value
            return scope.reads[target]
        return self._constant(target, None)

    def _constant(self, name: str, data: np.ndarray | None) -> Value:
        for scope in self.scopes:
            if name in scope.constants:
                return scope.constants[name]
        if name not in self.constants:
            self.constants[name] = self._weight(name) if data is None else Constant(TensorType.of(data), data)
        value = Value(self.fresh(name), self.constants[name].type)
        self.scopes[-1].ops.append(Op("constant", (), (value,), {"name": name}))
        self.scopes[-1].constants[name] = value
        return value

    def integers(self, codes: Any, scales: Any, kind: Kind, group: int) -> Value:
        """The weight that two buffers hold as integers with scales, as a float value."""
        names = [self.named.get(a.name, "") if isinstance(a, Node) else "" for a in (codes, scales)]
        if not all(names) or self.mutable.intersection(names):
            raise UserError("CHM211", "codes and scales are supported as buffers that forward leaves as they are only")
        name = f"{names[0]}.{kind}.g{group}"
        if name not in self.constants:
            held = [self._tensor(target) for target in names]
            arrays = integer_weight(held[0], held[1], kind, group, names[0])
            whole = [Constant(TensorType.of(array), array) for array in arrays]
            self.constants[name] = Constant(f32(*arrays[0].shape), Quantised(kind, group, *whole))
        return self._constant(name, None)

    def _weight(self, name: str) -> Constant:
        if name in self.computed:
            return Constant(f32(*self._tensor(name).shape), self.computed[name])
        data = self._array(name)
        return Constant(TensorType.of(data), data)

    def _state_initial(self, target: str) -> np.ndarray:
        if target not in self.state_data:
            held = self._array(target)
            # running the module changes the buffer; zeros that nobody writes to, as of large caches, take no memory
            self.state_data[target] = held.copy() if np.any(held) else np.zeros_like(held, order="C")
        data = self.state_data[target]
        if target not in self.states:
            initial = None
            if np.any(data):
                initial = f"initial.{target}"
                while initial in self.program.state_dict:  # a submodule may be called "initial"
                    initial += "_"
                self.constants[initial] = Constant(TensorType.of(data), data)
            self.states[target] = State(TensorType.of(data), 1, initial)
        return data

    def _array(self, name: str) -> np.ndarray:
        tensor = self._tensor(name)
        data = array_of(tensor, name)
        if tensor.dtype not in KEPT:
            self.notes.append(f"{name}: {str(tensor.dtype).removeprefix('torch.')} became {data.dtype}")
        return data
