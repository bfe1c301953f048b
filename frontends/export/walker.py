"""Walks an exported graph once, in order, and makes the IR of it, by the table of handlers."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch.export.graph_signature import InputKind, InputSpec, OutputKind
from torch.fx import GraphModule, Node

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Attribute, Op, Parts, Region, State, Value
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.types import TensorType, i32
from chimerac.frontends.export.arrays import array_of
from chimerac.frontends.export.functional import Mutations
from chimerac.frontends.export.handler import element
from chimerac.frontends.export.handlers import HANDLERS
from chimerac.frontends.export.obstacles import Obstacle, ObstaclesError
from chimerac.frontends.export.own_ops import own_handler
from chimerac.frontends.export.places import place_of
from chimerac.frontends.export.rewrites import ALONG_TOKENS, TOKENS_OF_A_CALL, advice
from chimerac.frontends.export.values import Scope, Values

#: What PyTorch checks of sizes and types when it runs; here they are what they were when it traced.
CHECKS = frozenset(
    f"aten.{name}.default" for name in ("_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range_for_size")
)
#: Python's arithmetic on sizes → the op of the IR.
SIZES: Mapping[Callable[..., Any], str] = {
    operator.add: "int_add",
    operator.sub: "int_sub",
    operator.mul: "int_mul",
    operator.floordiv: "int_floor_div",
    operator.mod: "int_mod",
}

#: Ops that the importer takes as they are.
_MARKS = ("chimera.loop_begin.default", "chimera.loop_end.default")
KNOWN = frozenset({*HANDLERS, *CHECKS, *_MARKS, *map(str, SIZES)})
#: In place of a value that has no form in the IR.
_UNKNOWN = object()
_Taken = TypeVar("_Taken")


class Walker(Values):
    """The import of one program.

    Args:
        names: of its inputs.
        checked_ids: whether the first input is the tokens, whose tables are checked to have a row for each.
        whole_sequence: whether the module sees a whole text at once (whole_sequence.py).
        runtime_states: names of buffers that are states though forward changes none of them: runtimes do.
    """

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        mutations: Mutations,
        computed: Mapping[str, Parts],
        names: Callable[[int, Node], str],
        *,
        checked_ids: bool = True,
        whole_sequence: bool = False,
        runtime_states: Collection[str] = (),
    ) -> None:
        super().__init__(program, mutations, computed, runtime_states)
        self.whole_sequence = whole_sequence
        self.checked_ids = checked_ids
        self.names = names
        self.loop: Op | None = None
        self.loops = (1, 1)
        self.errors: list[UserError] = []
        self.obstacles: list[Obstacle] = []  #: of each error
        self.bounds: dict[str, list[tuple[int, int]]] = {}  #: value → (least, greatest) that look-ups by it take

    def run(self) -> tuple[Value, ...]:
        """The results of the graph; the ops are in ``scopes[0]``.

        Raises:
            ObstaclesError: with all that stands in the way. After an error the walk goes on, with a value of the type
                that PyTorch has for the result, so that later nodes are judged as well.
        """
        kinds = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs}
        results: tuple[Value, ...] = ()
        for name in self.runtime_states:
            self._state_initial(name)
        for node in self.program.graph.nodes:
            results = self._attempt(node, partial(self._take, node, kinds)) or results
            if self.errors and self.errors[-1].code == "CHM214":
                break  # after a misplaced mark nobody knows what belongs to which region
        if self.errors:
            raise ObstaclesError(self.errors[0], self.obstacles)
        for state, value in self.scopes[0].written:
            self.scopes[0].ops.append(Op("state.write", (value,), (), {"name": state}))
        return results

    def _attempt(self, node: Node, take: Callable[[], _Taken]) -> _Taken | None:
        """What is made of a node; None after an error, which does not end the walk."""
        try:
            return take()
        except UserError as error:
            self._note(error, node)
        except Exception:
            if not self.errors:
                raise
            self._stand_in(node)  # a handler may stumble over what stands in for another op's result
        return None

    def _take(self, node: Node, kinds: Mapping[str, InputSpec]) -> tuple[Value, ...]:
        """A node of the graph; the results where it is that."""
        if node.op == "placeholder":
            spec = kinds[node.name]
            if spec.kind == InputKind.USER_INPUT:
                self._input(node, len(self.inputs))
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
            return self._output(node)
        return ()

    def _note(self, error: UserError, node: Node) -> None:
        """An error of a node, which does not end the walk."""
        op = str(node.target) if node.op == "call_function" else ""
        help_ = "" if error.hint in (None, self.where(node)) else str(error.hint)
        if not help_ and op not in KNOWN:
            help_ = advice(op, HANDLERS)
        if not help_ and TOKENS_OF_A_CALL in error.message:
            help_ = ALONG_TOKENS
        place = place_of(node, self._path(node))
        known = bool(op) and (place.path != "" or place.file != "")
        self.errors.append(error)
        self.obstacles.append(Obstacle(error.code, error.message, op, places=(place,) if known else (), advice=help_))
        self._stand_in(node)

    def _stand_in(self, node: Node) -> None:
        """Values of the types that PyTorch has for a node's results, where it has got none."""
        if node.op != "output" and node.name not in self.values:
            try:
                self.values[node.name] = self._alike(node.meta.get("val"), node)
            except UserError:
                self.values[node.name] = _UNKNOWN

    def _alike(self, held: Any, node: Node) -> Any:
        if isinstance(held, tuple | list):
            return tuple(self._alike(one, node) for one in held)
        if isinstance(held, torch.Tensor):
            kind = element(held.dtype)
            shape = self.dims(held, node) or ((1,) if kind == "f32" else ())
            return Value(self.fresh(node.name), TensorType(kind, shape))
        return held if isinstance(held, bool | int | float) else _UNKNOWN

    def bound(self, ids: Value, low: int, high: int) -> None:
        """Ids that are an input must be within these numbers: see ``bounds``."""
        self.bounds.setdefault(self._reshaped(ids).name, []).append((low, high))

    def _reshaped(self, value: Value) -> Value:
        """What a value is but another shape of."""
        while value.name in self.producers and self.producers[value.name][0].name == "reshape":
            value = self.producers[value.name][0].operands[0]
        return value

    def in_range(self, ids: Value) -> bool:
        """Whether ids are the tokens or a constant: ``check_look_ups`` compares them with the tables."""
        ids = self._reshaped(ids)
        constant = any(ids == held for scope in self.scopes for held in scope.constants.values())
        return self.checked_ids and (constant or ids == self.inputs[0])

    def _input(self, node: Node, index: int) -> None:
        if not isinstance(node.meta.get("val"), torch.Tensor):
            self.values[node.name] = node.meta.get("val")  # a number, which is that of the example
            return
        kind = element(node.meta["val"].dtype)
        shape = self.shape(node) or ((1,) if kind == "f32" else ())
        value = Value(self.names(index, node), TensorType(kind, shape))
        self.inputs.append(value)
        self.taken.add(value.name)
        self.values[node.name] = value

    def _call(self, node: Node) -> None:
        target = str(node.target)
        if target in CHECKS:
            return
        if any(self.values.get(used.name) is _UNKNOWN for used in node.all_input_nodes):
            self._unjudged(node)
            return
        if node.target is operator.getitem:
            source, index = node.args
            assert isinstance(source, Node)
            self.values[node.name] = self.values[source.name][index]
        elif node.target in SIZES or getattr(node.target, "__module__", "").startswith(
            ("_operator", "torch.sym", "math")
        ):
            self.values[node.name] = self._size(node)
        elif target.startswith("chimera.loop_begin"):
            self._begin_loop(node)
        elif target.startswith("chimera.loop_end"):
            self._end_loop(node)
        else:
            handler = HANDLERS.get(target) or own_handler(target)
            if handler is None:
                raise self._unsupported(node)
            try:
                self.values[node.name] = handler.handle(self, node, handler.makes)
            except UserError as error:
                if error.hint is None:
                    error.hint = self.where(node)
                raise

    def given(self, argument: Any) -> Any:
        """What there is for an argument: a value, a number, or several."""
        named = isinstance(argument, Node) and argument.name in self.named
        return self.values[argument.name] if isinstance(argument, Node) and not named else self.value(argument)

    def open_region(self, node: Node, types: Sequence[TensorType]) -> tuple[Value, ...]:
        """Begin a region; its arguments."""
        self.scopes.append(Scope())
        return tuple(Value(self.fresh(f"{node.name}_each"), kind) for kind in types)

    def follow(self, graph: GraphModule, arguments: Sequence[Any]) -> list[Value]:
        """The results of a graph of its own, whose nodes may have the names of others."""
        outside, self.values = self.values, {}
        named, self.named = self.named, {}
        given = iter(arguments)
        try:
            for node in graph.graph.nodes:
                if node.op == "placeholder":
                    self.values[node.name] = next(given)
                elif node.op == "get_attr" and isinstance(held := getattr(graph, str(node.target)), torch.Tensor):
                    self.values[node.name] = self.constant(node.name, array_of(held, node.name))
                elif node.op == "call_function":
                    self._attempt(node, partial(self._call, node))
                elif node.op == "output":
                    return [self.value(result) for result in node.args[0]]
        finally:
            self.values, self.named = outside, named
        return []

    def close_region(self) -> tuple[Op, ...]:
        """End the region that was begun last; its ops."""
        return tuple(self.scopes.pop().ops)

    def _unsupported(self, node: Node) -> UserError:
        message = f"the PyTorch op {node.target} is not supported"
        if str(node.target).startswith("auto_functionalized"):  # as PyTorch traces an op that changes its arguments
            changed: Any = node.args[0]
            names = [a.name for a in changed._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
            message = f"the PyTorch op {changed} writes to its arguments: {', '.join(names)}"
        return UserError("CHM211", message, hint=self.where(node))

    def _unjudged(self, node: Node) -> None:
        """A node of which an operand has no form: nothing is known of its operands, only whether its op is."""
        if (
            isinstance(node.target, torch._ops.OpOverload)
            and str(node.target) not in KNOWN
            and not own_handler(str(node.target))
        ):
            raise self._unsupported(node)
        self._stand_in(node)

    def _size(self, node: Node) -> Any:
        """Arithmetic of sizes: a number where PyTorch knows it, or the tokens, or ops on integers."""
        size = node.meta["val"]
        if isinstance(size, int):
            return size
        if str(size).startswith("s") and str(size)[1:].isdigit():
            return self.extent(size, node)
        name = next((name for function, name in SIZES.items() if function is node.target), None)
        if name is None:
            raise UserError("CHM211", f"{node.target} of sizes is not supported", hint=self.where(node))
        return self.emit(name, [self.value(argument, "i32") for argument in node.args], {}, node)

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
        self.scopes.append(Scope())
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
            if self.values.get(node.name) is not _UNKNOWN:
                self._write_state(target, self.value(node))

    def _overwrite_states(self) -> None:
        """Note the states whose new value is a parameter or another buffer, which no node computes."""
        for name, targets in self.mutations.items():
            if name in self.named:
                for target in targets:
                    self._write_state(target, self._named(self.named[name]))

    def _write_state(self, target: str, value: Value) -> None:
        kind = TensorType.of(self._state_initial(target))
        if value.type.dtype == kind.dtype and {value.type.shape, kind.shape} <= {(), (1,)}:
            value = self._as(value, kind)
        if value.type != kind:
            hint = "a buffer keeps its shape and dtype"
            raise UserError("CHM213", f"buffer {target}, {kind}, is overwritten by {value.type}", hint=hint)
        self.scopes[-1].written.append((target, value))

    def _as(self, value: Value, kind: TensorType) -> Value:
        """A number with or without an axis of 1."""
        if value.type == kind:
            return value
        name, shape = ("broadcast" if value.type.shape == () else "reshape"), ",".join(map(str, kind.shape))
        made = Value(self.fresh(value.name), kind)
        self.scopes[-1].ops.append(Op(name, (value,), (made,), {"shape": shape}))
        return made

    def _output(self, node: Node) -> tuple[Value, ...]:
        specs = self.program.graph_signature.output_specs
        outputs = node.args[0]
        assert isinstance(outputs, tuple | list)
        return tuple(
            self.value(argument)
            for argument, spec in zip(outputs, specs, strict=True)
            if spec.kind == OutputKind.USER_OUTPUT and argument is not None and not self._unknown(argument)
        )

    def _unknown(self, argument: Any) -> bool:
        return isinstance(argument, Node) and self.values.get(argument.name) is _UNKNOWN
