"""The type in which caches of keys and values are held: float32 as a module has them, or float16, half as large."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Module, Op, State, Value, walk
from chimerac.compiler.ir.types import TensorType

#: Element types, the module's own first.
CACHE_TYPES = ("f32", "f16")


def with_caches(module: Module, dtype: str) -> Module:
    """An imported module whose caches hold rows of an element type. It computes other numbers than before.

    Raises:
        UserError: CHM223, there is no such type, or a cache is read by something else than attention.
    """
    if dtype not in CACHE_TYPES:
        raise UserError("CHM223", f"there are no caches of {dtype}", hint=f"there are {' and '.join(CACHE_TYPES)}")
    if dtype == CACHE_TYPES[0]:
        return module
    names = {name for graph in module.graphs.values() for op in walk(graph.ops) for name in _caches(op, graph.ops)}
    if not names:
        raise UserError("CHM223", f"caches of {dtype}, and no attention with a cache", hint="leave it out")
    states = {
        name: State(_held(state.type, dtype), state.iterations) if name in names else state
        for name, state in module.states.items()
    }
    return replace(module, states=states).map_graphs(
        lambda graph: replace(graph, ops=tuple(_converted(op, names, dtype) for op in graph.ops))
    )


def _held(type_: TensorType, dtype: str) -> TensorType:
    return TensorType(dtype, type_.shape)


def _caches(op: Op, ops: tuple[Op, ...]) -> Iterator[str]:
    """Names of the states that attention uses as its caches, and nothing else uses."""
    if op.name != "cached_attention":
        return
    for place in (3, 4):
        read = next((o for o in walk(ops) if op.operands[place] in o.results), None)
        users = [o for o in walk(ops) if op.operands[place] in o.operands]
        if read is None or read.name != "state.read" or len(users) != 1:
            message = f"a cache is read by something else than attention ({op.location})"
            raise UserError("CHM223", message, hint="caches of float32 may be")
        yield read.text("name")


def _converted(op: Op, names: set[str], dtype: str) -> Op:
    def changed(values: tuple[Value, ...], places: tuple[int, ...]) -> tuple[Value, ...]:
        return tuple(replace(v, type=_held(v.type, dtype)) if i in places else v for i, v in enumerate(values))

    if op.name == "cached_attention":
        return replace(op, operands=changed(op.operands, (3, 4)), results=changed(op.results, (1, 2)))
    if op.name == "state.read" and op.text("name") in names:
        return replace(op, results=changed(op.results, (0,)))
    if op.name == "state.write" and op.text("name") in names:
        return replace(op, operands=changed(op.operands, (0,)))
    regions = tuple(replace(r, ops=tuple(_converted(o, names, dtype) for o in r.ops)) for r in op.regions)
    return replace(op, regions=regions) if regions else op
