"""Joins a norm with the quantisation that follows it, when nothing else reads the normed values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chimerac.compiler.ir.module import Graph, Module, Op, Value, walk
from chimerac.passes.base import Builder, Rewritten, rewrite, uses


@dataclass(frozen=True)
class FuseNormQuantize:
    """``quantize(rms_norm(x, w))`` → ``rms_norm_quantize(x, w)``; run dead_code after it."""

    name: str = "fuse_norm_quantize"

    def run(self, module: Module) -> Rewritten:
        fused, kept = 0, 0

        def change(graph: Graph) -> Graph:
            nonlocal fused, kept
            counts = uses(graph)
            norms = {op.results[0].name: op for op in walk(graph.ops) if op.name == "rms_norm"}

            def fuse(op: Op, builder: Builder) -> Sequence[Value] | None:
                nonlocal fused, kept
                if op.name != "quantize" or (norm := norms.get(op.operands[0].name)) is None:
                    return None
                if counts[op.operands[0].name] > 1:
                    kept += 1
                    return None
                fused += 1
                attributes = {"eps": norm.number("eps"), **op.attributes}
                return builder.emit("rms_norm_quantize", norm.operands, attributes, hint="q", like=op)

            return rewrite(graph, fuse)

        changed = module.map_graphs(change)
        why = f"; {kept} norms are read by float ops too and stay" if kept else ""
        return Rewritten(changed, (f"fused {fused} norms{why}",))
