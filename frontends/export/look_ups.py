"""Look-ups that cannot reach outside of their tables, whatever tokens a model is given."""

from __future__ import annotations

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Module, walk
from chimerac.compiler.ir.ops import OPS


def check_look_ups(module: Module) -> None:
    """A token may be any of the ids that the logits stand for: tables that it looks up must have that many rows.

    Raises:
        UserError: CHM217 with the sizes and the place of the look-up.
    """
    graph = module.graphs["main"]
    vocabulary = int(str(graph.results[0].type.shape[1]))
    producers = {result.name: op for op in walk(graph.ops) for result in op.results}
    for op in walk(graph.ops):
        if OPS[op.name].operands[:1] != ("ids",):
            continue
        ids, table = op.operands[:2]
        rows = int(str(table.type.shape[0]))
        source = producers.get(ids.name)
        if source is not None and source.name == "constant":
            held = module.constants[source.text("name")].data
            fits = int(held.min()) >= 0 and int(held.max()) < rows
        else:
            fits = rows >= vocabulary
        if not fits:
            message = f"a table of {rows:,} rows is looked up with ids of a vocabulary of {vocabulary:,}"
            hint = f"{op.location}: give the table a row for each of the head's outputs, or the head fewer"
            raise UserError("CHM217", message, hint=hint)
