"""Checks a module: types follow the op table, values are defined before use, and a stage holds only its legal ops."""

from __future__ import annotations

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir import trees
from chimerac.compiler.ir.module import Graph, Module, Op, Region, Value
from chimerac.compiler.ir.ops import OPS, OpDef, TypeRuleError
from chimerac.compiler.ir.ops.definition import Stage
from chimerac.compiler.ir.scans import problem_of, result_types
from chimerac.compiler.ir.types import TensorType, i32

_PROBLEMS = {"scan": problem_of, "walk": trees.problem_of, "replay": trees.problem_of}


def verify(module: Module, stage: Stage = "imported") -> None:
    """Raise ``InternalError`` naming the first op that breaks a rule.

    Args:
        stage: what the module has been through; ops that it replaced must be gone.
    """
    for name, constant in module.constants.items():
        if not constant.computed and not constant.type.layout and TensorType.of(constant.data) != constant.type:
            raise InternalError(f"constant {name} is {TensorType.of(constant.data)}, declared {constant.type}")
    for name, state in module.states.items():
        if state.initial is not None and state.initial not in module.constants:
            raise InternalError(f"state {name} starts from the unknown constant {state.initial}")
        if state.initial is not None and module.constants[state.initial].type != state.type:
            raise InternalError(f"state {name} starts from {module.constants[state.initial].type}, not {state.type}")
        if state.type.is_dynamic or state.iterations < 1:
            raise InternalError(f"state {name} has type {state.type} and {state.iterations} copies")
    roles: set[str] = set()
    for name, graph in module.graphs.items():
        if graph.name != name or (graph.role == "decode" and graph.tokens != 1):
            raise InternalError(f"graph {graph.name} of up to {graph.tokens} tokens is entered as {name}, {graph.role}")
        if graph.role in roles:
            raise InternalError(f"graph {name} is not the first of the role {graph.role}")
        roles |= {graph.role} - {"call"}
        _verify_graph(module, graph, stage)


def _verify_graph(module: Module, graph: Graph, stage: Stage) -> None:
    defined: dict[str, TensorType] = {}
    for value in graph.inputs:
        _define(graph, defined, value)
    _verify_ops(module, graph, graph.ops, defined, stage)
    for value in graph.results:
        _use(graph, defined, value, "result")


def _verify_ops(
    module: Module, graph: Graph, ops: tuple[Op, ...], defined: dict[str, TensorType], stage: Stage
) -> None:
    for op in ops:
        where = f"{graph.name}: {op.name}" + (f" ({op.location})" if op.location else "")
        definition = OPS.get(op.name)
        if definition is None or not definition.legal(stage):
            raise InternalError(f"{where} is not legal here")
        for value in op.operands:
            _use(graph, defined, value, where)
        variadic = bool(definition.operands) and definition.operands[-1].startswith("*")
        least = len(definition.operands) - variadic
        if len(op.operands) < least or (len(op.operands) > least and not variadic):
            raise InternalError(f"{where} has {len(op.operands)} operands, takes {', '.join(definition.operands)}")
        _verify_attributes(op, definition, where)
        if len(op.regions) != definition.regions:
            raise InternalError(f"{where} has {len(op.regions)} regions")
        expected = _result_types(module, op, where)
        actual = tuple(r.type for r in op.results)
        if expected != actual:
            raise InternalError(f"{where} gives {_types(expected)}, declared {_types(actual)}")
        for region in op.regions:
            _verify_region(module, graph, op, region, defined, stage, where)
        for value in op.results:
            _define(graph, defined, value)


def _verify_attributes(op: Op, definition: OpDef, where: str) -> None:
    kinds = definition.attributes
    if not kinds.keys() - definition.optional <= op.attributes.keys() <= kinds.keys():
        raise InternalError(f"{where} has attributes {sorted(op.attributes)}, takes {sorted(kinds)}")
    for name, value in op.attributes.items():
        if type(value) is not kinds[name]:
            raise InternalError(f"{where}: attribute {name} is {value!r}, not of type {kinds[name].__name__}")


def _verify_region(
    module: Module,
    graph: Graph,
    op: Op,
    region: Region,
    defined: dict[str, TensorType],
    stage: Stage,
    where: str,
) -> None:
    carried = tuple(v.type for v in op.operands)
    if op.name == "loop" and tuple(a.type for a in region.arguments) != (i32(), *carried):
        raise InternalError(f"{where}: region arguments do not match the carried values")
    if op.name == "loop" and tuple(r.type for r in region.results) != carried:
        raise InternalError(f"{where}: region results do not match the carried values")
    inner = dict(defined)
    for argument in region.arguments:
        _define(graph, inner, argument)
    _verify_ops(module, graph, region.ops, inner, stage)
    for value in region.results:
        _use(graph, inner, value, where)
    for name in inner:  # names stay unique in the whole graph, but values of a region end with it
        if name not in defined:
            defined[f"{name} (ended)"] = inner[name]


def _result_types(module: Module, op: Op, where: str) -> tuple[TensorType, ...]:
    if op.name == "constant":
        name = op.text("name")
        if name not in module.constants:
            raise InternalError(f"{where}: unknown constant {name}")
        return (module.constants[name].type,)
    if op.name in ("state.read", "state.write"):
        name = op.text("name")
        if name not in module.states:
            raise InternalError(f"{where}: unknown state {name}")
        state = module.states[name]
        if "iteration" in op.attributes and not 0 <= op.integer("iteration") < state.iterations:
            raise InternalError(f"{where}: state {name} has {state.iterations} copies")
        if op.name == "state.read":
            return (state.type,)
        if op.operands[0].type != state.type:
            raise InternalError(f"{where}: {op.operands[0].type} written to state {name} of {state.type}")
        return ()
    if op.name in _PROBLEMS:
        if (problem := _PROBLEMS[op.name](op)) is not None:
            raise InternalError(f"{where}: {problem}")
        return result_types(op) if op.name == "scan" else tuple(value.type for value in op.regions[0].results)
    try:
        return OPS[op.name].infer([v.type for v in op.operands], op.attributes)
    except TypeRuleError as error:
        raise InternalError(f"{where}: {error}") from None


def _define(graph: Graph, defined: dict[str, TensorType], value: Value) -> None:
    if value.name in defined or f"{value.name} (ended)" in defined:
        raise InternalError(f"{graph.name}: {value} is defined twice")
    defined[value.name] = value.type


def _use(graph: Graph, defined: dict[str, TensorType], value: Value, where: str) -> None:
    if defined.get(value.name) != value.type:
        known = defined.get(value.name)
        raise InternalError(f"{graph.name}: {where} uses {value}: {value.type}, which is {known or 'not defined'}")


def _types(types: tuple[TensorType, ...]) -> str:
    return f"({', '.join(map(str, types))})"
