"""Lays trits and their scales out as a target's kernels read them (compiler/ir/layouts.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from chimerac.compiler.ir.layouts import pack_scales, pack_ternary, scale_layout, ternary_layout
from chimerac.compiler.ir.module import Module, Op, Value
from chimerac.passes.base import Builder, NewConstants, Rewritten, constant_names, rewrite

PACKED_OPS = ("ternary_matmul", "grouped_ternary_matmul")


@dataclass(frozen=True)
class TernaryPacking:
    """Two bits a weight, in panels of ``panel_rows`` output rows."""

    panel_rows: int
    name: str = "ternary_packing"

    def run(self, module: Module) -> Rewritten:
        new = NewConstants(module)
        rows = self.panel_rows
        graphs = {}
        for graph_name, graph in module.graphs.items():
            names = constant_names(graph)

            def pack(op: Op, builder: Builder, names: dict[str, str] = names) -> Sequence[Value] | None:
                if op.name not in PACKED_OPS or op.operands[2].type.layout:
                    return None
                weight, scale = (names[op.operands[i].name] for i in (2, 3))
                packed_name, scale_name = f"{weight}.{ternary_layout(rows)}", f"{scale}.{scale_layout(rows)}"
                weights = new.derive(
                    packed_name, lambda: pack_ternary(module.constants[weight].data, rows), ternary_layout(rows)
                )
                scales = new.derive(
                    scale_name, lambda: pack_scales(module.constants[scale].data, rows), scale_layout(rows)
                )
                operands = list(op.operands)
                operands[2] = builder.constant(packed_name, weights)
                operands[3] = builder.constant(scale_name, scales)
                return builder.emit(op.name, operands, op.attributes, hint=op.results[0].name, location=op.location)

            graphs[graph_name] = rewrite(graph, pack)
        packed = [c for c in new.made.values() if c.type.layout == ternary_layout(rows)]
        size = sum(c.data.nbytes for c in packed)
        note = f"packed {len(packed)} matrices as {ternary_layout(rows)}: {size:,} bytes"
        return Rewritten(new.added_to(replace(module, graphs=graphs)), (note,))
