"""How long a sequence may be: as long as the shortest cache of its keys and values, and how it is kept to that."""

from __future__ import annotations

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Graph, Module, Op, walk
from chimerac.compiler.ir.ops import OPS

#: Ops whose results but the first are caches.
ATTENTION = ("cached_attention", "cached_attention_int8", "cached_attention_int4")
LEAST = 2  #: rows: a token, and one that follows it


def context_of(module: Module) -> int:
    """Most tokens of a sequence; 0: any number."""
    found = (context for graph in module.graphs.values() for op in walk(graph.ops) if (context := _context(op)))
    return min(found, default=0)


def _context(op: Op) -> int:
    count = OPS[op.name].context
    return 0 if count is None else count([value.type for value in op.operands], op.attributes)


def cache_axes(module: Module) -> dict[str, int]:
    """States with a row for each position, those that no token has reached being zeros: name → axis of the rows.

    Copies of loop iterations, where there are several, are the first axis.
    """
    axes: dict[str, int] = {}
    for graph in module.graphs.values():
        ops = list(walk(graph.ops))
        made = {result.name for op in ops if op.name in ATTENTION for result in op.results[1:]}
        for op in ops:
            if op.name == "state.write":
                state = module.states[op.text("name")]
                rows = op.operands[0].name in made and state.initial is None
                axes[op.text("name")] = (1 + (state.iterations > 1)) if rows and axes.get(op.text("name"), 1) else 0
    return {name: axis for name, axis in axes.items() if axis}


def check_caches(module: Module) -> None:
    """Raise UserError CHM223 unless the caches of an imported module are used as runtimes keep them.

    They know how many tokens were run. So rows are written at the position of the call, and a ring has room for the
    tokens of a call beside its window.
    """
    for graph in module.graphs.values():
        for op in walk(graph.ops):
            if op.name == "cached_attention":
                _check_cache(module, graph, op)


def _check_cache(module: Module, graph: Graph, op: Op) -> None:
    if graph.role == "call":
        hint = "a language model has forward(tokens, position) or forward(tokens)"
        raise UserError("CHM223", f"attention with a cache is for language models ({op.location})", hint=hint)
    if op.operands[5] != graph.inputs[1]:
        hint = "give it the position that forward gets"
        raise UserError("CHM223", f"the cache is not written at the position of the call ({op.location})", hint=hint)
    rows, window = int(op.operands[3].type.shape[1]), op.integer("window")
    if rows < LEAST:
        raise UserError("CHM223", f"a cache of {rows} rows ({op.location})", hint=f"it needs {LEAST} at least")
    if window and rows < window + module.block - 1:
        hint = f"it needs {window + module.block - 1}: those of the window, and of a call of {module.block} tokens"
        raise UserError("CHM223", f"a cache of {rows} rows for a window of {window} tokens ({op.location})", hint=hint)
