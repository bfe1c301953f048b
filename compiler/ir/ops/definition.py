"""What an entry of the op table says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from chimerac.compiler.ir.module import Attribute, Op
from chimerac.compiler.ir.types import TensorType

Infer = Callable[[Sequence[TensorType], Mapping[str, Attribute]], tuple[TensorType, ...]]
Reference = Callable[[Op, Sequence[np.ndarray]], tuple[np.ndarray, ...]]


class TypeRuleError(Exception):
    """Operands or attributes that an op does not take; the verifier adds which op."""


@dataclass(frozen=True)
class OpDef:
    """One op of the IR.

    Attributes:
        name: as in the text form.
        doc: one line: what it computes.
        operands: operand names in order; a last name with ``*`` takes any number.
        attributes: attribute names; a trailing ``?`` marks an optional one.
        infer: result types from operand types and attributes; raises ``TypeRuleError``.
        reference: result arrays from operand arrays: the meaning of the op. None for ops that the interpreter runs
            itself because they touch states, constants or regions.
        in_place: result index → operand index whose memory the generated code overwrites.
        guard: name of the ``write`` operand of an op that returns its states unchanged when it is 0: such states
            are written in the first iteration of a looped region only, and have one copy for all iterations.
        elementwise: computes each element from the elements at the same place (after broadcasting).
    """

    name: str
    doc: str
    operands: tuple[str, ...]
    infer: Infer
    reference: Reference | None
    attributes: tuple[str, ...] = ()
    in_place: Mapping[int, int] = field(default_factory=dict)
    guard: str | None = None
    elementwise: bool = False


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


def blocks(extent: int, size: int) -> int:
    """Number of blocks of ``size`` that cover ``extent``; the last may be shorter."""
    return -(-extent // size)


def static(dim: int | str, what: str) -> int:
    """A dimension that must not be the token dimension."""
    require(isinstance(dim, int), f"{what} must be static")
    assert isinstance(dim, int)
    return dim
