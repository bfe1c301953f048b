"""Ops that the interpreter and the driver generator treat themselves: constants, state, loops."""

from __future__ import annotations

from chimerac.compiler.ir.ops.definition import Attributes, OpDef, TypeRuleError, Types
from chimerac.compiler.ir.types import TensorType


def _declared_elsewhere(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    raise TypeRuleError("the type follows from the module, not from the operands")


OPS = [
    OpDef("constant", "a weight of the module", (), _declared_elsewhere, None, {"name": str}, structural=True),
    OpDef(
        "state.read",
        "the state's value (of the current iteration inside a loop, of copy `iteration` where given)",
        (),
        _declared_elsewhere,
        None,
        {"name": str, "iteration": int},
        optional=("iteration",),
        structural=True,
    ),
    OpDef(
        "state.write",
        "sets the state for later calls",
        ("value",),
        lambda operands, attributes: (),
        None,
        {"name": str, "iteration": int},
        optional=("iteration",),
        structural=True,
    ),
    OpDef(
        "loop",
        "runs its region several times, carrying a value; the region's first argument is i32 `write`: 1 in the first"
        " iteration, else 0; runs have `minimum` iterations at least, by default 1 (looped blocks: arXiv 2604.12946)",
        ("carried",),
        lambda operands, attributes: (operands[0],),
        None,
        {"default": int, "maximum": int, "exit_threshold": float, "minimum": int},
        optional=("minimum",),
        structural=True,
        regions=1,
        replaced="unrolled",
    ),
    OpDef(
        "scan",
        "runs its region for each row [1, ...] of some sequences [N, ...], the first row first or, with `reverse`, the"
        " last: `carried` values go from row to row; results are these after all rows, then sequences of rows",
        ("*carried_and_sequences",),
        _declared_elsewhere,
        None,
        {"carried": int, "reverse": int},
        optional=("reverse",),
        structural=True,
        regions=1,
    ),
    OpDef(
        "walk",
        "runs its region for each path of a tree of tokens that does not branch, with the rows of its tokens and the"
        " states as its parent left them; results are rows of all tokens; states are as before in the end",
        ("position", "*sequences"),
        _declared_elsewhere,
        None,
        {"walk": int},
        structural=True,
        regions=1,
    ),
    OpDef(
        "replay",
        "runs its region for the tokens of a chosen path of the tree, with the rows that the `walk` of that number got;"
        " `looped`: for each iteration of a looped region",
        (),
        lambda operands, attributes: (),
        None,
        {"walk": int, "looped": int},
        structural=True,
        regions=1,
    ),
]
