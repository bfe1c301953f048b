"""Makes the entries ``decode`` (one token) and ``prefill`` (a block of tokens) of a language model from its only graph.

Both give the logits of the last token only: the last row is taken before the final row-wise ops, so that the head runs
once a call and not once a token. The two are the same ops, so they share their kernels; they differ in how many tokens
a call may have, and so in the memory they plan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Attribute, Graph, Module, Op
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.ops.movement import parse_shape, tokens_axis
from chimerac.compiler.ir.trees import MOST_NODES
from chimerac.compiler.ir.types import TOKENS
from chimerac.passes.base import Builder, Rewritten, graph_names, uses


@dataclass(frozen=True)
class EntryPoints:
    """Replaces the graph of the role main; a module without one has its entries already.

    Attributes:
        speculate: make ``verify``, too: up to ``MOST_NODES`` tokens and the logits of each, and keep ``draft``, which
            takes one token; else there is none.
    """

    speculate: bool = False
    name: str = "entry_points"

    def run(self, module: Module) -> Rewritten:
        if not module.has_tokens:
            return Rewritten(module, (f"the entries stay: {', '.join(module.graphs)}",))
        main = replace(module.entry("main"), name="prefill", tokens=module.block, role="prefill")
        prefill, moved = _last_row_early(main)
        decode = replace(prefill, name="decode", tokens=1, role="decode")
        note = f"the last row is taken before {moved} final ops"
        graphs = {"decode": decode, "prefill": prefill}
        if self.speculate:
            graphs["verify"] = _verify(module.entry("main"))
            graphs |= {n: replace(g, tokens=1) for n, g in module.graphs.items() if g.role == "draft"}
        return Rewritten(replace(module, graphs=graphs), (note,))


def _verify(main: Graph) -> Graph:
    """The graph giving the logits of every token; UserError CHM315 if the module itself takes the last."""
    if not main.results[0].type.is_dynamic:
        message = "speculation is not compiled yet for a module that gives the logits of its last token only"
        raise UserError("CHM315", message, hint="give those of every token, or build without --speculate")
    return replace(main, name="verify", tokens=MOST_NODES, role="verify")


def _last_row_early(graph: Graph) -> tuple[Graph, int]:
    """The graph giving one row of logits; the tail of ops after the cut sees a single token."""
    if not graph.results[0].type.is_dynamic:  # the module itself takes the last row
        return graph, 0
    counts = uses(graph)
    cut = graph.results[0]
    tail: list[Op] = []
    producers = {r.name: op for op in graph.ops for r in op.results}
    while (op := producers.get(cut.name)) is not None:
        dynamic = [v for v in op.operands if v.type.is_dynamic]
        if not _row_wise(op) or len(dynamic) != 1 or len(op.results) != 1 or counts[cut.name] != 1:
            break
        tail.insert(0, op)
        cut = dynamic[0]
    dropped = {id(op) for op in tail}
    builder = Builder(graph_names(graph))
    builder.ops = [op for op in graph.ops if id(op) not in dropped]
    (row,) = builder.emit("last_token", (cut,))
    for op in tail:
        operands = [row if v.type.is_dynamic else v for v in op.operands]
        attributes = {k: _of_one_token(v) if k == "shape" else v for k, v in op.attributes.items()}
        (row,) = builder.emit(op.name, operands, attributes, hint=op.results[0].name, like=op)
    return replace(graph, ops=tuple(builder.ops), results=(row,)), len(tail)


def _row_wise(op: Op) -> bool:
    """Whether an op makes the rows of its result one by one, of the rows of an operand.

    Rows are those of an axis of tokens in front of which there are only axes of 1; a reshape that does nothing but add
    or remove such axes keeps them.
    """
    types = [v.type for v in (*op.operands, *op.results) if v.type.is_dynamic]
    if any(t.shape[tokens_axis(t.shape)] != TOKENS for t in types):
        return False
    if op.name == "reshape":
        before, after = (v.type for v in (*op.operands, *op.results))
        fronts = [t.shape[tokens_axis(t.shape) :] for t in (before, after)]
        return fronts[0] == fronts[1] and before != after
    return OPS[op.name].row_wise


def _of_one_token(shape: Attribute) -> str:
    return ",".join("1" if d == TOKENS else str(d) for d in parse_shape(str(shape)))
