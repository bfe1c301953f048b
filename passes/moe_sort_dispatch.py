"""Lowers a mixture of experts to sorted dispatch: route, sort by expert, one product per expert, combine.

Each (token, slot) pair becomes a row; a stable counting sort makes every expert's rows contiguous, so that each expert
that was chosen reads its weights once per call and the others are not touched. The weighted sum goes through the
inverse permutation in slot order, so the result does not depend on how tokens were grouped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from chimerac.compiler.ir.module import Module, Op, Value
from chimerac.passes.base import Builder, NewConstants, Rewritten, constant_names, rewrite
from chimerac.passes.quantized_linear import quantised, weight_name


@dataclass(frozen=True)
class MoeSortDispatch:
    """Expert weights must be constants; they are ternarised here."""

    name: str = "moe_sort_dispatch"

    def run(self, module: Module) -> Rewritten:
        new = NewConstants(module)
        lowered = []
        graphs = {}
        for graph_name, graph in module.graphs.items():
            names = constant_names(graph)

            def lower(op: Op, builder: Builder, names: dict[str, str] = names) -> Sequence[Value] | None:
                if op.name != "moe":
                    return None
                lowered.append(op.location)
                return _dispatch(op, builder, names, new)

            graphs[graph_name] = rewrite(graph, lower)
        notes = (f"dispatched {len(lowered)} expert layers",) if lowered else ("the model has no experts",)
        return Rewritten(new.added_to(replace(module, graphs=graphs)), notes)


def _dispatch(op: Op, builder: Builder, names: dict[str, str], new: NewConstants) -> Sequence[Value]:
    x, router, bias, gate, _up, _down, down_norm = op.operands
    group, block, eps = op.integer("group"), op.integer("block"), op.number("eps")
    experts, width, hidden = (int(d) for d in gate.type.shape)

    def emit(name: str, operands: Sequence[Value], **attributes: int | float | str) -> tuple[Value, ...]:
        return builder.emit(name, operands, attributes, like=op)

    def product(codes: Value, scales: Value, operand: int, rows: int, columns: int) -> Value:
        weights = quantised(new, weight_name(op, operand, names), group, "trits", builder)
        return emit(
            "grouped_ternary_matmul",
            (codes, scales, *weights, offsets),
            rows=rows,
            columns=columns,
            group=group,
            block=block,
        )[0]

    chosen, weights = emit("route", (x, router, bias), top_k=op.integer("top_k"))
    order, place, offsets = emit("sort_pairs", (chosen,), experts=experts)
    codes, scales = emit("quantize", (x,), block=block)
    (row_codes,) = emit("gather_rows", (codes, order))
    (row_scales,) = emit("gather_rows", (scales, order))
    (gated,) = emit("silu", (product(row_codes, row_scales, 3, width, hidden),))
    (inner,) = emit("mul", (gated, product(row_codes, row_scales, 4, width, hidden)))
    (normed,) = emit("grouped_rms_norm", (inner, down_norm, offsets), eps=eps)
    inner_codes, inner_scales = emit("quantize", (normed,), block=block)
    rows = product(inner_codes, inner_scales, 5, hidden, width)
    return emit("combine_experts", (rows, place, weights))
