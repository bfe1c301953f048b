"""The op table: every op of the IR with its operands, type rule and numpy reference."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from chimerac.compiler.ir.ops import (
    attention,
    cached_attention,
    chosen,
    elementwise,
    expert_products,
    experts,
    knots,
    levels,
    linear,
    matrices,
    movement,
    norms,
    recurrent,
    reductions,
    rotations,
    rounded,
    sparse,
    structure,
    tables,
)
from chimerac.compiler.ir.ops.definition import OpDef, TypeRuleError

_TABLE = {
    op.name: op
    for module in (
        structure,
        elementwise,
        movement,
        reductions,
        rotations,
        knots,
        matrices,
        norms,
        linear,
        tables,
        levels,
        rounded,
        sparse,
        chosen,
        recurrent,
        attention,
        cached_attention,
        experts,
        expert_products,
    )
    for op in module.OPS
}
OPS: Mapping[str, OpDef] = MappingProxyType(_TABLE)


def add(op: OpDef) -> None:
    """Add an op of another package; ``custom.register_op`` checks it."""
    _TABLE[op.name] = op


def remove(name: str) -> None:
    """Take such an op away."""
    del _TABLE[name]


__all__ = ["OPS", "OpDef", "TypeRuleError", "add", "remove"]
