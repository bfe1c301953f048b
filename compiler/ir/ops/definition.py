"""What an entry of the op table says."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from chimerac.compiler.ir.module import Attribute, Op
from chimerac.compiler.ir.types import TensorType

Types = Sequence[TensorType]
Attributes = Mapping[str, Attribute]
Infer = Callable[[Types, Attributes], tuple[TensorType, ...]]
Reference = Callable[[Op, Sequence[np.ndarray]], tuple[np.ndarray, ...]]
Count = Callable[[Types, Attributes], int]

#: What a module has been through; ``verify`` checks it against one of them.
Stage = Literal["imported", "lowered", "unrolled"]
STAGES: tuple[Stage, ...] = get_args(Stage)


#: A float multiply-add on a state or a matrix, in those of integer products: its 4 bytes are as many as 16 trits.
FLOAT_WORK = 16


class TypeRuleError(Exception):
    """Operands or attributes that an op does not take; the verifier adds which op."""


@dataclass(frozen=True)
class Packed:
    """Weights that a target lays out in panels of rows (passes/ternary_packing.py): any form of compiler/ir/layouts.py.

    Attributes:
        weights: name of the operand that holds trits.
        scales: name of the operand with their scales.
        panel_rows: rows of a panel of two-bit trits, where kernels of the op do not take the target's panels.
    """

    weights: str
    scales: str
    panel_rows: int | None = None


@dataclass(frozen=True)
class Shared:
    """How threads share an op: its results are ``units`` that depend on nothing that another unit computes.

    Attributes:
        units: number of them, from operand types and attributes; 0 where it is not worth it.
        work: multiply-adds of one for one token, a float one counted as ``FLOAT_WORK``; they only decide whether a
            kernel is worth sharing.
        together: units that a kernel computes at a time, which no two threads divide.
        elements: whether each unit makes as many elements of each row of the first result, in their order.
        follows: whether it needs, of operands with rows as long, no more than the same elements.
    """

    units: Count
    work: Count
    together: Count = lambda operands, attributes: 1
    elements: bool = False
    follows: bool = False


@dataclass(frozen=True)
class Work:
    """What an op costs a token.

    Attributes:
        multiply_adds: products that enter a sum, from operand types and attributes; None: no such products.
        shared: how threads share it; None: it runs on one thread.
        experts: name of the operand that says where each expert's rows begin, i32[E + 1], of an op that reads the
            weights of the chosen experts only; its first operand is [T, k, ...] with k rows of each token.
        one_row: whether it reads one row of a table.
        element: work of an element of a token's largest operand or result, of an op that is computed token by token
            whatever the other tokens are; 0: threads do not share its tokens.
    """

    multiply_adds: Count | None = None
    shared: Shared | None = None
    experts: str | None = None
    one_row: bool = False
    element: Count = lambda operands, attributes: 0

    def sharing(self, operands: Types, attributes: Attributes) -> tuple[int, int] | None:
        """Units that threads share, each of as many as are computed together, and the work of one; None if one thread
        computes the op."""
        if self.shared is None:
            return None
        together = self.shared.together(operands, attributes)
        units = -(-self.shared.units(operands, attributes) // together)
        return (units, together * self.shared.work(operands, attributes)) if units else None


@dataclass(frozen=True)
class OpDef:
    """One op of the IR: all that the compiler knows about it, but for its kernel and its ONNX form.

    Attributes:
        name: as in the text form.
        doc: one line: what it computes.
        operands: operand names in order; a last name with ``*`` takes any number.
        infer: result types from operand types and attributes; raises ``TypeRuleError``.
        reference: result arrays from operand arrays: the meaning of the op. None for structural ops.
        attributes: attribute name → its type, in the order of the custom op's arguments.
        optional: attributes that may be left out.
        torch: the custom PyTorch op that is imported as this op, as PyTorch prints it: tensors, then attributes.
        replaced: the stage from which on the op must be gone.
        structural: touches states, constants or regions: interpreter and driver do it themselves.
        regions: number of regions.
        relabels: the result is memory of the operand: ``all`` of it, or its ``last row``.
        elementwise: computes each element from the elements at the same place (after broadcasting).
        row_wise: treats every token by itself; what is element-wise does, too.
        folds: with constant operands it may be computed at build time.
        integer_product: sums of integer products, exact in any order and with any instruction.
        wide: wider registers than the usual ones of an instruction set take more rows at a time, each in its own order.
        in_place: result index → operand index whose memory the generated code overwrites.
        guard: name of the ``write`` operand of an op that returns its states unchanged when it is 0: such states
            are written in the first iteration of a looped region only, and have one copy for all iterations.
        packed: weights that are packed for a target.
        context: most tokens of a sequence, from operand types and attributes, 0 for any number; None: any number.
        overwriting: a ``reference`` that overwrites the operands of ``in_place``, where these are large.
        work: what it costs.
    """

    name: str
    doc: str
    operands: tuple[str, ...]
    infer: Infer
    reference: Reference | None
    attributes: Mapping[str, type[int] | type[float] | type[str]] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    torch: str | None = None
    replaced: Stage | None = None
    structural: bool = False
    regions: int = 0
    relabels: Literal["all", "last row"] | None = None
    elementwise: bool = False
    row_wise: bool = False
    folds: bool = False
    integer_product: bool = False
    wide: bool = False
    in_place: Mapping[int, int] = field(default_factory=dict)
    guard: str | None = None
    packed: Packed | None = None
    context: Count | None = None
    overwriting: Reference | None = None
    work: Work = Work()

    @property
    def has_kernel(self) -> bool:
        """Whether targets compute it by a kernel."""
        return not self.structural and self.relabels is None and self.legal("lowered")

    def legal(self, stage: Stage) -> bool:
        """Whether modules at that stage may have the op."""
        return self.replaced is None or STAGES.index(stage) < STAGES.index(self.replaced)

    def index(self, operand: str) -> int:
        """The place of the operand of that name."""
        return self.operands.index(operand)


def imported(
    name: str,
    doc: str,
    operands: tuple[str, ...],
    infer: Infer,
    reference: Reference,
    attributes: Mapping[str, type[int] | type[float] | type[str]] | None = None,
    *,
    row_wise: bool = False,
    work: Work = Work(),
) -> OpDef:
    """An op over float weights as PyTorch has it, a custom op of this name; lowering makes others of it."""
    torch = f"chimera.{name}.default"
    given = attributes or {}
    return OpDef(
        name, doc, operands, infer, reference, given, torch=torch, replaced="lowered", row_wise=row_wise, work=work
    )


def require(condition: bool, message: str) -> None:
    """Raise ``TypeRuleError`` unless the condition holds."""
    if not condition:
        raise TypeRuleError(message)


def require_tensor(type_: TensorType, dtype: str, rank: int, what: str) -> None:
    """Raise ``TypeRuleError`` unless a type has this element type and number of dimensions."""
    require(type_.dtype == dtype and len(type_.shape) == rank, f"{what} {type_} is not a {dtype} tensor of rank {rank}")


def require_row(type_: TensorType, what: str) -> None:
    """Raise ``TypeRuleError`` unless a type is f32 with a last axis of fixed size."""
    fits = type_.dtype == "f32" and len(type_.shape) > 0 and isinstance(type_.shape[-1], int)
    require(fits, f"{what} {type_} is not f32 with a last axis of fixed size")


def attribute_int(attributes: Mapping[str, Attribute], name: str) -> int:
    """An integer attribute inside a type rule."""
    value = attributes.get(name)
    require(isinstance(value, int), f"attribute {name!r} must be an integer")
    assert isinstance(value, int)
    return value


def rows_per_token(operands: Types) -> int:
    """Rows of the first operand that a token has: 1, or one per chosen expert."""
    return math.prod(d for d in operands[0].shape[:-1] if isinstance(d, int))


def blocks(extent: int, size: int) -> int:
    """Number of blocks of ``size`` that cover ``extent``; the last may be shorter."""
    return -(-extent // size)


def static(dim: int | str, what: str) -> int:
    """A dimension that must not be the token dimension."""
    require(isinstance(dim, int), f"{what} must be static")
    assert isinstance(dim, int)
    return dim
