"""PyTorch module → IR, through ``torch.export``.

The module's contract (docs/architecture.md): ``forward(tokens i32[T], position i32[]) -> logits f32[T, V]``, with T
dynamic; parameters and unchanged buffers become constants; buffers that forward mutates become recurrent state, whose
initial value is the buffer's content. ``chimera::loop_begin`` and ``chimera::loop_end`` mark a region that runs several
times per call: its states get one copy per iteration, except those that only ops guarded by ``write`` change.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Node

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Attribute, Constant, Graph, Module, Op, Region, State, Value
from chimerac.compiler.ir.ops import OPS, TypeRuleError
from chimerac.compiler.ir.types import TOKENS, Dim, TensorType, i32
from chimerac.frontends.torch_ops import HANDLERS


@dataclass
class _Scope:
    """Ops being collected for the graph or for a looped region."""

    ops: list[Op] = field(default_factory=list)
    reads: dict[str, Value] = field(default_factory=dict)  #: state name → its value read in this scope
    constants: dict[str, Value] = field(default_factory=dict)
    written: list[tuple[str, Value]] = field(default_factory=list)


def import_module(module: torch.nn.Module, *, name: str, block: int) -> Module:
    """The IR of a PyTorch module.

    Args:
        module: see the module docstring; put in eval mode by the caller.
        name: name of the IR module.
        block: most tokens of one call.

    Raises:
        UserError: CHM210 for a module that torch.export cannot trace, CHM211 for an op that the IR has not, CHM212 for
            a signature other than the contract's.
    """
    tokens = torch.zeros(min(3, block), dtype=torch.int32)
    position = torch.zeros((), dtype=torch.int32)
    dimension = torch.export.Dim("T", min=1, max=block)
    try:
        with torch.no_grad():
            program = torch.export.export(module, (tokens, position), dynamic_shapes=({0: dimension}, None))
            program = program.run_decompositions({})
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            "CHM210",
            f"torch.export cannot trace {type(module).__name__}: {str(error).strip().splitlines()[0]}",
            hint="forward must be traceable with a dynamic number of tokens; see docs/architecture.md",
        ) from error
    return _Importer(program, name, block).run()


class _Importer:
    """Walks the exported graph once, in order."""

    def __init__(self, program: torch.export.ExportedProgram, name: str, block: int) -> None:
        self.program, self.name, self.block = program, name, block
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
        signature = program.graph_signature
        self.mutations = {
            spec.arg.name: str(spec.target)
            for spec in signature.output_specs
            if spec.kind == OutputKind.BUFFER_MUTATION
        }

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
                results = self._output(node)
        if len(inputs) != 2 or len(results) != 1 or len(results[0].type.shape) != 2:
            raise UserError(
                "CHM212",
                f"forward takes {len(inputs)} inputs and returns {[str(r.type) for r in results]}",
                hint="the contract is forward(tokens i32[T], position i32[]) -> logits f32[T,V]",
            )
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
        stack = node.meta.get("nn_module_stack") or {}
        path = next((str(entry[0]) for entry in reversed(list(stack.values())) if entry[0]), self.owner)
        lines = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
        place = f"{lines[-1][0].rsplit('/', 1)[-1]}:{lines[-1][1]}" if lines else ""
        return ", ".join(part for part in (path, place) if part)

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
        op = Op(name, tuple(operands), results, dict(attributes), location=self.where(node))
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
        if target in self.mutations.values():
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
            if data is None:
                data = np.ascontiguousarray(self._tensor(name).detach().cpu().numpy())
            if data.dtype == np.int64:
                data = data.astype(np.int32)
            self.constants[name] = Constant(TensorType.of(data), data)
        value = Value(self.fresh(name), self.constants[name].type)
        self.scopes[-1].ops.append(Op("constant", (), (value,), {"name": name}))
        self.scopes[-1].constants[name] = value
        return value

    def _state_initial(self, target: str) -> np.ndarray:
        if target not in self.state_data:
            self.state_data[target] = np.ascontiguousarray(self._tensor(target).detach().cpu().numpy())
        data = self.state_data[target]
        if target not in self.states:
            initial = None
            if np.any(data):
                initial = f"initial.{target}"
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
            handler: Callable[[_Importer, Node], Any] | None = HANDLERS.get(target)
            if handler is None:
                raise UserError("CHM211", f"the PyTorch op {target} is not supported", hint=self.where(node))
            self.values[node.name] = handler(self, node)

    def _begin_loop(self, node: Node) -> None:
        if len(self.scopes) > 1:
            raise UserError("CHM214", "looped regions cannot be nested", hint=self.where(node))
        carried = self.value(node.args[0])
        _, maximum, default, threshold = node.args
        write, inside = Value(self.fresh("write"), i32()), Value(self.fresh("carried"), carried.type)
        attributes: dict[str, Attribute] = {
            "default": int(str(default)),
            "maximum": int(str(maximum)),
            "exit_threshold": float(str(threshold)),
        }
        self.loops = (int(str(default)), int(str(maximum)))
        region = Region((write, inside), (), ())
        self.loop = Op("loop", (carried,), (), attributes, (region,), self.where(node))
        self.scopes.append(_Scope())
        self.values[node.name] = (inside, write)

    def _end_loop(self, node: Node) -> None:
        if self.loop is None:
            raise UserError("CHM214", "loop_end without loop_begin", hint=self.where(node))
        result = self.value(node.args[0])
        scope = self.scopes.pop()
        for name, value in scope.written:
            state = self.states[name]
            if not self._guarded(value):
                self.states[name] = State(state.type, self.loops[1], state.initial)
            scope.ops.append(Op("state.write", (value,), (), {"name": name}))
        region = Region(self.loop.regions[0].arguments, tuple(scope.ops), (result,))
        output = Value(self.fresh("looped"), result.type)
        operands, attributes = self.loop.operands, self.loop.attributes
        self.scopes[-1].ops.append(Op("loop", operands, (output,), attributes, (region,), self.loop.location))
        self.values[node.name] = output
        self.loop = None

    def _guarded(self, value: Value) -> bool:
        """Whether a written value comes from an op that leaves the state alone when ``write`` is 0."""
        op, index = self.producers[value.name]
        return OPS[op.name].guard is not None and index in OPS[op.name].in_place

    def _write_states(self, node: Node) -> None:
        """Note the states whose new value is this node, in the scope where it is computed."""
        if node.name in self.mutations:
            target = self.mutations[node.name]
            self._state_initial(target)
            self.scopes[-1].written.append((target, self.value(node)))

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

