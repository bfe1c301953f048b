"""Lays trits and their scales out as a target's kernels read them (compiler/ir/layouts.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from chimerac.compiler.ir.layouts import (
    pack_scales,
    pack_ternary,
    packed_scale_type,
    packed_type,
    scale_layout,
    ternary_layout,
)
from chimerac.compiler.ir.module import Constant, Module, Op, Value
from chimerac.compiler.ir.types import TensorType
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
                weights = _packed(new, packed_name, module.constants[weight], packed_type, pack_ternary, rows)
                scales = _packed(new, scale_name, module.constants[scale], packed_scale_type, pack_scales, rows)
                operands = list(op.operands)
                operands[2] = builder.constant(packed_name, weights)
                operands[3] = builder.constant(scale_name, scales)
                return builder.emit(op.name, operands, op.attributes, hint=op.results[0].name, location=op.location)

            graphs[graph_name] = rewrite(graph, pack)
        packed = [c for c in new.made.values() if c.type.layout == ternary_layout(rows)]
        size = sum(c.type.bytes() for c in packed)
        note = f"packed {len(packed)} matrices as {ternary_layout(rows)}: {size:,} bytes"
        return Rewritten(new.added_to(replace(module, graphs=graphs)), (note,))


def _packed(
    new: NewConstants,
    name: str,
    plain: Constant,
    type_of: Callable[[TensorType, int], TensorType],
    pack: Callable[[np.ndarray, int], np.ndarray],
    panel_rows: int,
) -> TensorType:
    type_ = type_of(plain.type, panel_rows)
    if plain.computed:
        return new.derive_computed(name, type_, lambda: _parts(plain, type_, pack, panel_rows))
    return new.derive(name, lambda: pack(plain.data, panel_rows), type_.layout)


def _parts(
    plain: Constant, type_: TensorType, pack: Callable[[np.ndarray, int], np.ndarray], panel_rows: int
) -> Iterator[np.ndarray]:
    """Packed in pieces of whole matrices: a matrix alone is one piece, experts are one each."""
    if len(plain.type.shape) == 2:
        yield pack(plain.data, panel_rows)
    else:
        for part in plain.parts():
            yield pack(part, panel_rows)
