"""Lays trits and their scales out as a target's kernels read them (compiler/ir/layouts.py).

Each matrix gets the form that the target reads fastest (passes/ternary_costs.py), and the report says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from chimerac.compiler.ir.layouts import (
    FORMS,
    pack_scales,
    pack_ternary,
    packed_scale_type,
    packed_type,
    scale_layout,
    ternary_layout,
    words_per_vector,
)
from chimerac.compiler.ir.module import Constant, Module, Op, Value, walk
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.types import TensorType
from chimerac.passes.base import Builder, NewConstants, Rewritten, constant_names, rewrite
from chimerac.passes.ternary_costs import CACHE, TWO_BITS_ONLY, TernaryCosts


@dataclass(frozen=True)
class TernaryPacking:
    """Two bits or 1.6 a weight, in panels of ``panel_rows`` output rows.

    Attributes:
        costs: of the target.
        form: one of ``layouts.FORMS`` for all matrices, instead of the fastest.
    """

    panel_rows: int
    costs: TernaryCosts = TWO_BITS_ONLY
    form: str | None = None
    name: str = "ternary_packing"

    def run(self, module: Module) -> Rewritten:
        new = NewConstants(module)
        own = _plain_weights(module)
        weights = [name for name, high in own.items() if high is None]
        size = sum(_two_bit_bytes(module.constants[name].type, self.panel_rows) for name in weights)
        streamed = size > CACHE
        forms = dict.fromkeys(own, FORMS[0])
        forms |= {name: self._form(module.constants[name].type, streamed) for name in weights}
        graphs = {}
        for graph_name, graph in module.graphs.items():
            names = constant_names(graph)

            def pack(op: Op, builder: Builder, names: dict[str, str] = names) -> Sequence[Value] | None:
                places = _plain_places(op)
                if places is None:
                    return None
                weight, scale = (names[op.operands[i].name] for i in places)
                form, rows = forms[weight], own[weight] or self.panel_rows
                packed_name, scale_name = f"{weight}.{ternary_layout(rows, form)}", f"{scale}.{scale_layout(rows)}"
                type_ = packed_type(module.constants[weight].type, rows, form)
                trits = partial(pack_ternary, panel_rows=rows, form=form)
                packed = _packed(new, packed_name, module.constants[weight], type_, trits, rows)
                scale_type = packed_scale_type(module.constants[scale].type, rows)
                panels = partial(pack_scales, panel_rows=rows)
                scales = _packed(new, scale_name, module.constants[scale], scale_type, panels, rows)
                operands = list(op.operands)
                operands[places[0]] = builder.constant(packed_name, packed)
                operands[places[1]] = builder.constant(scale_name, scales)
                return builder.emit(op.name, operands, op.attributes, hint=op.results[0].name, like=op)

            graphs[graph_name] = rewrite(graph, pack)
        notes = self._notes(new, streamed, size)
        return Rewritten(new.added_to(replace(module, graphs=graphs)), notes)

    def _form(self, trits: TensorType, streamed: bool) -> str:
        rows, columns = (int(d) for d in trits.shape[-2:])
        return self.form or self.costs.cheapest(rows, columns, self.panel_rows, streamed=streamed)

    def _notes(self, new: NewConstants, streamed: bool, size: int) -> tuple[str, ...]:
        made = list(new.made.values())
        notes = []
        for form in FORMS:
            layout = ternary_layout(self.panel_rows, form)
            packed = [c for c in made if c.type.layout == layout]
            if packed or form == FORMS[0]:
                notes.append(
                    f"packed {len(packed)} matrices as {layout}: {sum(c.type.bytes() for c in packed):,} bytes"
                )
        apart = [c for c in made if c.type.layout == ternary_layout(1)]
        if apart:
            notes.append(f"packed {len(apart)} matrices row by row: {sum(c.type.bytes() for c in apart):,} bytes")
        if self.form:
            notes.append(f"{self.form} was asked for")
        elif len(self.costs.compute) > 1:
            where = "come from memory" if streamed else "stay in a cache"
            table = ", ".join(
                f"{form} {max(compute, self.costs.memory / words_per_vector(form) if streamed else 0):.1f}"
                for form, compute in self.costs.compute.items()
            )
            notes.append(f"weights of {size:,} bytes at 2 bits {where}; picoseconds a weight: {table}")
        return tuple(notes)


def _plain_places(op: Op) -> tuple[int, int] | None:
    """Indices of the operands that hold trits in plain order and their scales; None if there are none."""
    definition = OPS[op.name]
    if definition.packed is None:
        return None
    weights, scales = (definition.index(name) for name in (definition.packed.weights, definition.packed.scales))
    return None if op.operands[weights].type.layout else (weights, scales)


def _plain_weights(module: Module) -> dict[str, int | None]:
    """The constants that products take as trits in plain order: name → rows of a panel, if not the target's."""
    found: dict[str, int | None] = {}
    for graph in module.graphs.values():
        names = constant_names(graph)
        for op in walk(graph.ops):
            packed = OPS[op.name].packed
            if packed is not None and (places := _plain_places(op)) is not None:
                found[names[op.operands[places[0]].name]] = packed.panel_rows
    return found


def _two_bit_bytes(trits: TensorType, panel_rows: int) -> int:
    return packed_type(trits, panel_rows).bytes()


def _packed(
    new: NewConstants,
    name: str,
    plain: Constant,
    type_: TensorType,
    pack: Callable[[np.ndarray], np.ndarray],
    panel_rows: int,
) -> TensorType:
    if plain.computed:
        return new.derive_computed(name, type_, lambda: _parts(plain, pack, panel_rows))
    return new.derive(name, lambda: pack(plain.data), type_.layout)


def _parts(plain: Constant, pack: Callable[[np.ndarray], np.ndarray], panel_rows: int) -> Iterator[np.ndarray]:
    """Packed in pieces: whole panels of a matrix alone, which follow each other; experts are one each."""
    if len(plain.type.shape) > 2:
        for part in plain.parts():
            yield pack(part)
        return
    left: list[np.ndarray] = []  # rows that wait for the rest of their panel
    for part in plain.parts():
        left.append(part)
        count = sum(map(len, left))
        if count >= panel_rows:
            rows = left[0] if len(left) == 1 else np.concatenate(left)
            whole = count - count % panel_rows
            yield pack(rows[:whole])
            left = [rows[whole:]] if whole < count else []
    if left:
        yield pack(np.concatenate(left))
