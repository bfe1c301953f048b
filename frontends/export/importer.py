"""PyTorch module → IR, through ``torch.export``.

The module's contract (docs/architecture.md): ``forward(tokens i32[T], position i32[]) -> logits f32[T, V]``, with T
dynamic; parameters and unchanged buffers become constants; buffers that forward mutates become recurrent state, whose
initial value is the buffer's content. ``chimera::loop_begin`` and ``chimera::loop_end`` mark a region that runs several
times per call: its states get one copy per iteration, except those that only ops guarded by ``write`` change.
"""

from __future__ import annotations

import inspect
import operator
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Node

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Attribute, Constant, Graph, Module, Op, Parts, Region, State, Value
from chimerac.compiler.ir.ops import OPS, TypeRuleError
from chimerac.compiler.ir.quantised import Kind, Quantised
from chimerac.compiler.ir.types import TOKENS, Dim, TensorType, f32, i32
from chimerac.frontends.export.arrays import array_of
from chimerac.frontends.export.functional import Mutations, functional
from chimerac.frontends.export.handlers import HANDLERS
from chimerac.frontends.export.integers import integer_weight
from chimerac.frontends.export.look_ups import check_look_ups
from chimerac.frontends.export.parts import ModelParts

#: What forward must look like.
CONTRACT = "the contract is forward(tokens i32[T], position i32[]) -> logits f32[T,V]"

#: Ops that the importer takes as they are.
KNOWN = frozenset({*HANDLERS, "chimera.loop_begin.default", "chimera.loop_end.default"})


@dataclass
class _Scope:
    """Ops being collected for the graph or for a looped region."""

    ops: list[Op] = field(default_factory=list)
    reads: dict[str, Value] = field(default_factory=dict)  #: state name → its value read in this scope
    constants: dict[str, Value] = field(default_factory=dict)
    written: list[tuple[str, Value]] = field(default_factory=list)


def import_module(
    module: torch.nn.Module, *, name: str, block: int, computed: Mapping[str, Parts] | None = None
) -> Module:
    """The IR of a PyTorch module.

    Args:
        module: see the module docstring; put in eval mode by the caller.
        name: name of the IR module.
        block: most tokens of one call.
        computed: parameters whose values come from here when they are needed, not from the module, by name.

    Raises:
        UserError: CHM210 for a module that torch.export cannot trace, CHM211 for an op that the IR has not, CHM212 for
            a signature other than the contract's, CHM213 for operands that an op does not take, CHM214 for misplaced
            marks of looped regions, CHM216 for a parameter or buffer that is neither float32 nor an integer of 32 bits,
            CHM217 for a table with fewer rows than there are tokens.
    """
    tokens = torch.zeros(min(3, block), dtype=torch.int32)
    position = torch.zeros((), dtype=torch.int32)
    try:
        inspect.signature(module.forward).bind(tokens, position)
    except TypeError as error:
        raise UserError("CHM212", f"{type(module).__name__}.forward: {error}", hint=CONTRACT) from None
    dimension = torch.export.Dim("T", min=1, max=block)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own, about its pytrees
            program = torch.export.export(module, (tokens, position), dynamic_shapes=({0: dimension}, None))
            program, mutations = functional(program, KNOWN)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            "CHM210",
            f"torch.export cannot trace {type(module).__name__}: {str(error).strip().splitlines()[0]}",
            hint="forward must be traceable with a dynamic number of tokens; see docs/architecture.md",
        ) from error
    made = _Importer(program, mutations, name, block, computed or {}).run()
    check_look_ups(made)
    return made


class _Importer:
    """Walks the exported graph once, in order."""

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        mutations: Mutations,
        name: str,
        block: int,
        computed: Mapping[str, Parts],
    ) -> None:
        self.program, self.name, self.block, self.computed = program, name, block, computed
        self.scopes = [_Scope()]
        self.values: dict[str, Any] = {}  # fx node name → Value, tuple of Values, or a Python number
        self.taken: set[str] = set()
        self.constants: dict[str, Constant] = {}
        self.states: dict[str, State] = {}
        self.named: dict[str, str] = {}  # fx placeholder name → constant or state name
        self.producers: dict[str, tuple[Op, int]] = {}
        self.state_data: dict[str, np.ndarray] = {}
        self.loop: Op | None = None
        self.loops = (1, 1)
        self.owner = ""  #: module path of the parameter or buffer used last
        self.parts = ModelParts()
        self.mutations = mutations
        self.mutable = {target for targets in self.mutations.values() for target in targets}
        self.ended: set[str] = set()  #: values that ended with their looped region

    def run(self) -> Module:
        inputs: list[Value] = []
        kinds = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs}
        results: tuple[Value, ...] = ()
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                spec = kinds[node.name]
                if spec.kind == InputKind.USER_INPUT:
                    inputs.append(self._input(node, len(inputs)))
                else:
                    self.named[node.name] = str(spec.target)
            elif node.op == "call_function":
                self._follow(node)
                self._call(node)
                self._write_states(node)
            elif node.op == "output":
                if self.loop is not None:
                    raise UserError("CHM214", "loop_begin without loop_end", hint=self.loop.location)
                self._overwrite_states()
                results = self._output(node)
        types = [r.type for r in results]
        if len(inputs) != 2 or [(t.dtype, len(t.shape), t.shape[:1]) for t in types] != [("f32", 2, (TOKENS,))]:
            returned = ", ".join(map(str, types))
            raise UserError("CHM212", f"forward takes {len(inputs)} inputs and returns {returned}", hint=CONTRACT)
        for state, value in self.scopes[0].written:
            self.scopes[0].ops.append(Op("state.write", (value,), (), {"name": state}))
        graph = Graph("main", tuple(inputs), tuple(self.scopes[0].ops), results, self.block)
        return Module(self.name, {"main": graph}, self.constants, self.states, self.block, self.loops)

    def _follow(self, node: Node) -> None:
        """Remember whose parameter or buffer a node uses: a module called by other methods than forward leaves no
        trace of its own."""
        for used in node.all_input_nodes:
            if used.name in self.named and "." in self.named[used.name]:
                self.owner = self.named[used.name].rpartition(".")[0]

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

    # values -----------------------------------------------------------------------------------------------------

    def fresh(self, hint: str) -> str:
        name, count = re.sub(r"\W", "_", hint), 1
        while name in self.taken:
            count += 1
            name = f"{re.sub(r'[^0-9A-Za-z_]', '_', hint)}_{count}"
        self.taken.add(name)
        return name

    def emit(self, name: str, operands: Sequence[Value], attributes: Mapping[str, Attribute], node: Node) -> Any:
        """Append an op; its result, or a tuple of results when it has several."""
        try:
            types = OPS[name].infer([v.type for v in operands], attributes)
        except TypeRuleError as error:
            raise UserError("CHM213", f"{name}: {error}", hint=self.where(node)) from None
        results = tuple(Value(self.fresh(node.name), t) for t in types)
        part = self.parts.of(self._path(node), look_up=OPS[name].work.one_row)
        op = Op(name, tuple(operands), results, dict(attributes), part=part, location=self.where(node))
        self.scopes[-1].ops.append(op)
        self.producers.update((r.name, (op, i)) for i, r in enumerate(results))
        return results[0] if len(results) == 1 else results

    def value(self, argument: Any) -> Value:
        """The IR value of an fx argument: a node, or a number (which becomes a constant)."""
        if isinstance(argument, Node):
            if argument.name in self.named:
                return self._named(self.named[argument.name])
            found = self.values[argument.name]
            if isinstance(found, Value):
                if found.name in self.ended:
                    raise UserError("CHM214", "a looped region's value is used after it; only loop_end passes one on")
                return found
            argument = found
        if isinstance(argument, bool | int | float):
            return self._constant(f"scalar.{float(argument)!r}", np.array([argument], np.float32))
        raise UserError("CHM211", f"an argument of type {type(argument).__name__} has no meaning in the IR")

    def _input(self, node: Node, index: int) -> Value:
        value = Value(("tokens", "position")[index] if index < 2 else node.name, i32(*_shape(node)))
        self.taken.add(value.name)
        self.values[node.name] = value
        return value

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
        data = array_of(self._tensor(name), name)
        return Constant(TensorType.of(data), data)

    def _state_initial(self, target: str) -> np.ndarray:
        if target not in self.state_data:
            held = array_of(self._tensor(target), target)
            self.state_data[target] = held.copy()  # running the module changes the buffer
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

    # nodes ------------------------------------------------------------------------------------------------------

    def _call(self, node: Node) -> None:
        target = str(node.target)
        if node.target is operator.getitem:
            source, index = node.args
            assert isinstance(source, Node)
            self.values[node.name] = self.values[source.name][index]
        elif target.startswith("chimera.loop_begin"):
            self._begin_loop(node)
        elif target.startswith("chimera.loop_end"):
            self._end_loop(node)
        else:
            handler = HANDLERS.get(target)
            if handler is None:
                raise UserError("CHM211", f"the PyTorch op {target} is not supported", hint=self.where(node))
            try:
                self.values[node.name] = handler.handle(self, node, handler.makes)
            except UserError as error:
                if error.hint is None:
                    error.hint = self.where(node)
                raise

    def _begin_loop(self, node: Node) -> None:
        if len(self.scopes) > 1:
            raise UserError("CHM214", "looped regions cannot be nested", hint=self.where(node))
        carried = self.value(node.args[0])
        _, maximum, default, threshold, *rest = node.args
        minimum = int(str(rest[0] if rest else node.kwargs.get("min_iterations", 1)))
        write, inside = Value(self.fresh("write"), i32()), Value(self.fresh("carried"), carried.type)
        attributes: dict[str, Attribute] = {
            "default": int(str(default)),
            "maximum": int(str(maximum)),
            "exit_threshold": float(str(threshold)),
            **({"minimum": minimum} if minimum > 1 else {}),
        }
        loops = (int(str(default)), int(str(maximum)))
        if self.loops not in ((1, 1), loops):
            raise UserError("CHM214", "looped regions differ in their iterations", hint=self.where(node))
        self.loops = loops
        region = Region((write, inside), (), ())
        part = self.parts.of(self._path(node), look_up=False)
        self.loop = Op("loop", (carried,), (), attributes, (region,), part, self.where(node))
        self.scopes.append(_Scope())
        self.values[node.name] = (inside, write)

    def _end_loop(self, node: Node) -> None:
        if self.loop is None:
            raise UserError("CHM214", "loop_end without loop_begin", hint=self.where(node))
        result = self.value(node.args[0])
        if result.type != self.loop.operands[0].type:
            carried = self.loop.operands[0].type
            raise UserError("CHM214", f"loop_end gets {result.type}, loop_begin {carried}", hint=self.where(node))
        scope = self.scopes.pop()
        for name, value in scope.written:
            state = self.states[name]
            if not self._guarded(value):
                self.states[name] = State(state.type, self.loops[1], state.initial)
            scope.ops.append(Op("state.write", (value,), (), {"name": name}))
        region = Region(self.loop.regions[0].arguments, tuple(scope.ops), (result,))
        self.ended.update(v.name for v in (*region.arguments, *(r for op in region.ops for r in op.results)))
        output = Value(self.fresh("looped"), result.type)
        self.scopes[-1].ops.append(replace(self.loop, results=(output,), regions=(region,)))
        self.values[node.name] = output
        self.loop = None

    def _guarded(self, value: Value) -> bool:
        """Whether a written value comes from an op that leaves the state alone when ``write`` is 0."""
        if value.name not in self.producers:
            return False
        op, index = self.producers[value.name]
        return OPS[op.name].guard is not None and index in OPS[op.name].in_place

    def _write_states(self, node: Node) -> None:
        """Note the states whose new value is this node, in the scope where it is computed."""
        for target in self.mutations.get(node.name, ()):
            self._write_state(target, self.value(node))

    def _overwrite_states(self) -> None:
        """Note the states whose new value is a parameter or another buffer, which no node computes."""
        for name, targets in self.mutations.items():
            if name in self.named:
                for target in targets:
                    self._write_state(target, self._named(self.named[name]))

    def _write_state(self, target: str, value: Value) -> None:
        kind = TensorType.of(self._state_initial(target))
        if value.type != kind:
            hint = "a buffer keeps its shape and dtype"
            raise UserError("CHM213", f"buffer {target}, {kind}, is overwritten by {value.type}", hint=hint)
        self.scopes[-1].written.append((target, value))

    def _output(self, node: Node) -> tuple[Value, ...]:
        specs = self.program.graph_signature.output_specs
        outputs = node.args[0]
        assert isinstance(outputs, tuple | list)
        return tuple(
            self.value(argument)
            for argument, spec in zip(outputs, specs, strict=True)
            if spec.kind == OutputKind.USER_OUTPUT
        )


def _shape(node: Node) -> tuple[Dim, ...]:
    dims: list[Dim] = []
    for extent in node.meta["val"].shape:
        if isinstance(extent, int):
            dims.append(extent)
        elif re.fullmatch(r"s\d+", str(extent)):
            dims.append(TOKENS)
        else:
            raise UserError("CHM215", f"{node.name} has {extent} elements along one axis", hint="only T may vary")
    return tuple(dims)
