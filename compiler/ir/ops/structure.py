"""Ops that the interpreter and the driver generator treat themselves: constants, state, loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chimerac.compiler.ir.module import Attribute
from chimerac.compiler.ir.ops.definition import OpDef, TypeRuleError
from chimerac.compiler.ir.types import TensorType


def _declared_elsewhere(operands: Sequence[TensorType], attributes: Mapping[str, Attribute]) -> tuple[TensorType, ...]:
    raise TypeRuleError("the type follows from the module, not from the operands")


OPS = [
    OpDef("constant", "a weight of the module", (), _declared_elsewhere, None, ("name",)),
    OpDef(
        "state.read",
        "the state's value (of the current iteration inside a loop, of copy `iteration` where given)",
        (),
        _declared_elsewhere,
        None,
        ("name", "iteration?"),
    ),
    OpDef("state.write", "sets the state for later calls", ("value",), lambda t, a: (), None, ("name", "iteration?")),
    OpDef(
        "loop",
        "runs its region several times, carrying a value; the region's first argument is i32 `write`: 1 in the first"
        " iteration, else 0 (looped blocks: arXiv 2604.12946)",
        ("carried",),
        lambda t, a: (t[0],),
        None,
        ("default", "maximum", "exit_threshold"),
    ),
]
