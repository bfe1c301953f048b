"""Lowers quantised linear layers: weights become small integers with scales, activations are quantised by an op.

``ternary_linear(x, W)`` → ``ternary_matmul(quantize(x), trits(W), scales(W))``, ``ternary_row_linear`` likewise with
one scale for all of a row of x; ``int8_linear`` and ``int8_embedding`` with int8 codes, ``ternary_embedding`` with
trits, products of experts, and tables of levels with codes of 3 bytes; a product and a look-up share them when their
weight is tied. Ops over bfloat16 and float16 become the float ops over weights of that type. Several layers over the
same input share one ``quantize`` once common subexpressions are merged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from chimerac.compiler.errors import InternalError, UserError
from chimerac.compiler.ir.module import Module, Op, Value
from chimerac.compiler.ir.ops.chosen import row_lengths
from chimerac.compiler.ir.ops.levels import BYTES, codes_of, pack
from chimerac.compiler.ir.ops.linear import to_bfloat16
from chimerac.compiler.ir.ops.rounded import to_float16
from chimerac.compiler.ir.quantised import Kind, quantise
from chimerac.compiler.ir.types import TensorType
from chimerac.passes.base import Builder, NewConstants, Rewritten, constant_names, rewrite

#: Products: what their weights become, and the op over integers.
_PRODUCTS: Mapping[str, tuple[Kind, str]] = {
    "ternary_linear": ("trits", "ternary_matmul"),
    "ternary_row_linear": ("trits", "ternary_matmul"),
    "int8_linear": ("int8", "int8_matmul"),
    "grouped_ternary_linear": ("trits", "grouped_ternary_matmul"),
    "grouped_int8_linear": ("int8", "grouped_int8_matmul"),
}

#: The same of products whose zeros are left out: activations stay floats.
_SPARSE: Mapping[str, tuple[Kind, str]] = {
    "ternary_sparse_linear": ("trits", "ternary_sparse_matmul"),
    "int8_sparse_linear": ("int8", "int8_sparse_matmul"),
}

#: The same of products of chosen rows, whose first operand says which.
_CHOSEN: Mapping[str, tuple[Kind, str]] = {
    "ternary_chosen_linear": ("trits", "ternary_chosen_matmul"),
    "int8_chosen_linear": ("int8", "int8_chosen_matmul"),
}

#: Ops over a table of levels, and what they become over its codes.
_LEVELS: Mapping[str, str] = {"levels_linear": "levels_matmul", "levels_embedding": "levels_look_up"}


@dataclass(frozen=True)
class QuantizedLinear:
    """Weights must be constants."""

    name: str = "quantized_linear"

    def run(self, module: Module) -> Rewritten:
        new = NewConstants(module)
        graphs = {}
        for graph_name, graph in module.graphs.items():
            names = constant_names(graph)

            def lower(op: Op, builder: Builder, names: dict[str, str] = names) -> Sequence[Value] | None:
                if op.name in _PRODUCTS:
                    return _lower_product(op, builder, weight_name(op, 1, names), new)
                if op.name == "int8_embedding":
                    group = op.integer("group")
                    codes, scales = quantised(new, weight_name(op, 1, names), group, "int8", builder)
                    return builder.emit("look_up", (op.operands[0], codes, scales), {"group": group}, like=op)
                if op.name in _SPARSE:
                    return _lower_sparse(op, builder, weight_name(op, 1, names), new)
                if op.name in _CHOSEN:
                    return _lower_chosen(op, builder, weight_name(op, 2, names), new)
                if op.name == "int8_row_lengths":
                    return _lower_lengths(op, builder, weight_name(op, 0, names), new)
                if op.name in _LEVELS:
                    return _lower_levels(op, builder, weight_name(op, 1, names), new)
                if op.name in NARROW:
                    return _lower_narrow(op, builder, weight_name(op, 1, names), new)
                if op.name == "ternary_embedding":
                    return _lower_ternary_embedding(op, builder, weight_name(op, 1, names), new)
                return None

            graphs[graph_name] = rewrite(graph, lower)
        layers = sum(name.endswith((".trits", ".int8")) for name in new.made)
        weights = [c.data for name, c in new.made.items() if name.endswith(".trits") and not c.computed]
        zeros = sum(int(np.count_nonzero(w == 0)) for w in weights) / max(1, sum(w.size for w in weights))
        note = f"quantised {layers} matrices" + (f"; {zeros:.1%} of the trits are zero" if weights else "")
        changed = Module(module.name, graphs, module.constants, module.states, module.block, module.loops)
        return Rewritten(new.added_to(changed), (note,))


def weight_name(op: Op, index: int, names: dict[str, str]) -> str:
    """The constant behind an operand that must be one."""
    value = op.operands[index]
    if value.name not in names:
        raise InternalError(f"{op.name} needs a constant weight, not {value} ({op.location})", stage="quantized_linear")
    return names[value.name]


def quantised(new: NewConstants, weight: str, group: int, kind: Kind, builder: Builder) -> tuple[Value, Value]:
    """References to the integer codes and the fp16 scales of a weight, which may be given as such."""
    constant, name = new.module.constants[weight], weight
    if new.groups.setdefault(f"{weight}.{kind}", group) != group:
        name = f"{weight}.g{group}"  # the same weight in groups of another size
    names = f"{name}.{kind}", f"{name}.{kind}_scales"
    if names[0] not in new.made:
        found = quantise(constant, kind, group, weight)
        new.made.update(zip(names, (found.codes, found.scales), strict=True))
    codes, scales = (builder.constant(made, new.made[made].type) for made in names)
    return codes, scales


def _float16(x: np.ndarray, weight: str) -> np.ndarray:
    """``to_float16``; raises UserError CHM242 for a number that is too large."""
    made = to_float16(x)
    if np.isinf(made).any():
        largest = float(np.abs(x).max())
        message = f"{weight} has numbers up to {largest:g}, and float16 none over 65504"
        raise UserError("CHM242", message, hint="give it another format: bf16, int8 or f32")
    return made


def _bfloat16(x: np.ndarray, weight: str) -> np.ndarray:
    return to_bfloat16(x)


#: Op over a rounded matrix → the op over floats, the type of the matrix, and what rounds it.
NARROW: Final[Mapping[str, tuple[str, str, Callable[[np.ndarray, str], np.ndarray]]]] = {
    f"{before}{kind}_{op}": (f"{before}{op}", dtype, round_)
    for kind, dtype, round_ in (("bfloat16", "bf16", _bfloat16), ("float16", "f16", _float16))
    for before, op in (("", "linear"), ("", "embedding"), ("grouped_", "linear"), ("sparse_", "linear"))
}


def _lower_narrow(op: Op, builder: Builder, weight: str, new: NewConstants) -> Sequence[Value]:
    """The op of the same kind over float weights, which reads bf16 and f16 as well."""
    plain, (wide, dtype, round_) = new.module.constants[weight], NARROW[op.name]
    name = f"{weight}.{dtype}"
    if plain.computed:
        kind = TensorType(dtype, plain.type.shape)
        new.derive_computed(name, kind, lambda: (round_(part, weight) for part in plain.parts()))
    else:
        new.derive(name, lambda: round_(plain.data, weight))
    operands = (op.operands[0], builder.constant(name, new.made[name].type), *op.operands[2:])
    return builder.emit(wide, operands, hint=op.results[0].name, like=op)


def _lower_levels(op: Op, builder: Builder, weight: str, new: NewConstants) -> Sequence[Value]:
    """A product or a look-up shares the codes with others of the same levels."""
    plain, levels, limit = new.module.constants[weight], op.integer("levels"), op.number("limit")
    name = f"{weight}.levels{levels}.{limit.hex().replace('+', '')}"

    def made(part: np.ndarray) -> np.ndarray:
        return pack(codes_of(part, levels, limit))

    if plain.computed:
        rows, columns = plain.type.shape
        kind = TensorType("u8", (rows, BYTES, columns))
        new.derive_computed(name, kind, lambda: (made(part) for part in plain.parts()))
    else:
        new.derive(name, lambda: made(plain.data))
    operands = (op.operands[0], builder.constant(name, new.made[name].type))
    return builder.emit(_LEVELS[op.name], operands, dict(op.attributes), hint=op.results[0].name, like=op)


def _lower_ternary_embedding(op: Op, builder: Builder, weight: str, new: NewConstants) -> Sequence[Value]:
    group = op.integer("group")
    trits = quantised(new, weight, group, "trits", builder)
    rows, columns = (int(d) for d in trits[0].type.shape)
    attributes = {"rows": rows, "columns": columns, "group": group}
    return builder.emit("ternary_look_up", (op.operands[0], *trits), attributes, like=op)


def _lower_product(op: Op, builder: Builder, weight: str, new: NewConstants) -> Sequence[Value]:
    kind, made = _PRODUCTS[op.name]
    group, block = op.integer("group"), op.integer("block")
    rule = {"block": block} | ({"row": 1} if op.name == "ternary_row_linear" else {})
    codes, scales = builder.emit("quantize", op.operands[:1], rule, hint="q", like=op)
    weights = quantised(new, weight, group, kind, builder)
    rows, columns = weights[0].type.shape[-2:]
    return builder.emit(
        made,
        (codes, scales, *weights, *op.operands[2:]),
        {"rows": int(rows), "columns": int(columns), "group": group, "block": block},
        hint=op.results[0].name,
        like=op,
    )


def _lower_chosen(op: Op, builder: Builder, weight: str, new: NewConstants) -> Sequence[Value]:
    kind, made = _CHOSEN[op.name]
    group, block = op.integer("group"), op.integer("block")
    codes, scales = builder.emit("quantize", op.operands[1:2], {"block": block}, hint="q", like=op)
    weights = quantised(new, weight, group, kind, builder)
    rows, columns = (int(d) for d in weights[0].type.shape)
    attributes = {"rows": rows, "columns": columns, "group": group, "block": block}
    operands = (op.operands[0], codes, scales, *weights)
    return builder.emit(made, operands, attributes, hint=op.results[0].name, like=op)


def _lower_lengths(op: Op, builder: Builder, weight: str, new: NewConstants) -> Sequence[Value]:
    plain, group = new.module.constants[weight], op.integer("group")
    name = f"{weight}.lengths{group}"
    if plain.computed:
        new.derive_computed(name, op.results[0].type, lambda: (row_lengths(part, group) for part in plain.parts()))
    else:
        new.derive(name, lambda: row_lengths(plain.data, group))
    return (builder.constant(name, new.made[name].type),)


def _lower_sparse(op: Op, builder: Builder, weight: str, new: NewConstants) -> Sequence[Value]:
    kind, made = _SPARSE[op.name]
    group = op.integer("group")
    weights = quantised(new, weight, group, kind, builder)
    rows, columns = (int(d) for d in weights[0].type.shape)
    attributes = {"rows": rows, "columns": columns, "group": group}
    return builder.emit(made, (op.operands[0], *weights), attributes, hint=op.results[0].name, like=op)
