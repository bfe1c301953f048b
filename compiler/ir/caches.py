"""The type in which caches of keys and values are held: float32 as a module has them, float16, half as large, or codes
of 8 or 4 bits with scales, a quarter or an eighth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Attribute, Module, Op, State, Value, walk
from chimerac.compiler.ir.ops.cached_rows import types_like

#: Element types, the module's own first.
CACHE_TYPES = ("f32", "f16", "int8", "int4")


def with_caches(module: Module, dtype: str) -> Module:
    """An imported module whose caches hold rows of one of ``CACHE_TYPES``. It computes other numbers than before.

    Caches of int8 and int4 have scales, which are states of their own: ``<name>.scales``.

    Raises:
        UserError: CHM223, there is no such type, or a cache is read by something else than attention.
    """
    if dtype not in CACHE_TYPES:
        raise UserError("CHM223", f"there are no caches of {dtype}", hint=f"there are {', '.join(CACHE_TYPES)}")
    if dtype == CACHE_TYPES[0]:
        return module
    names = {name for graph in module.graphs.values() for op in walk(graph.ops) for name in _caches(op, graph.ops)}
    if not names:
        raise UserError("CHM223", f"caches of {dtype}, and no attention with a cache", hint="leave it out")
    states: dict[str, State] = {}
    for name, state in module.states.items():
        held = types_like(dtype, state.type) if name in names else (state.type,)
        states[name] = State(held[0], state.iterations) if name in names else state
        states |= {f"{name}.scales": State(scales, state.iterations) for scales in held[1:]}
    convert = _Conversion(names, dtype)
    return replace(module, states=states).map_graphs(lambda graph: replace(graph, ops=convert.ops(graph.ops)))


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


class _Conversion:
    """Of the ops of a module, in which the states of these names are caches."""

    def __init__(self, names: set[str], dtype: str) -> None:
        self.names, self.dtype = names, dtype

    def ops(self, ops: tuple[Op, ...]) -> tuple[Op, ...]:
        return tuple(one for op in ops for one in self._converted(op))

    def _changed(self, values: tuple[Value, ...], *places: int) -> tuple[Value, ...]:
        return tuple(
            replace(v, type=types_like(self.dtype, v.type)[0]) if i in places else v for i, v in enumerate(values)
        )

    def _converted(self, op: Op) -> Iterator[Op]:
        if op.name == "cached_attention":
            yield self._attention(op)
        elif op.name == "state.read" and op.text("name") in self.names:
            yield replace(op, results=self._changed(op.results, 0))
            yield from (replace(op, results=(v,), attributes=_scales_state(op)) for v in self._scales(op.results[0]))
        elif op.name == "state.write" and op.text("name") in self.names:
            yield replace(op, operands=self._changed(op.operands, 0))
            yield from (replace(op, operands=(v,), attributes=_scales_state(op)) for v in self._scales(op.operands[0]))
        else:
            yield replace(op, regions=tuple(replace(r, ops=self.ops(r.ops)) for r in op.regions)) if op.regions else op

    def _attention(self, op: Op) -> Op:
        operands, results = self._changed(op.operands, 3, 4), self._changed(op.results, 1, 2)
        for value in op.operands[3:5]:
            operands += self._scales(value)
        for value in op.results[1:3]:
            results += self._scales(value)
        name = op.name if self.dtype == "f16" else f"{op.name}_{self.dtype}"
        return replace(op, name=name, operands=operands, results=results)

    def _scales(self, cache: Value) -> tuple[Value, ...]:
        """The scales of a cache, if it has some."""
        return tuple(Value(f"{cache.name}.scales", type_) for type_ in types_like(self.dtype, cache.type)[1:])


def _scales_state(op: Op) -> dict[str, Attribute]:
    return {**op.attributes, "name": f"{op.text('name')}.scales"}
