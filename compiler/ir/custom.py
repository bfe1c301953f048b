"""Ops that other packages add: declared like those of the table, with kernel and ONNX form in one place."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Attribute, Op
from chimerac.compiler.ir.ops import OPS, OpDef, add, remove
from chimerac.compiler.ir.ops.definition import Attributes, Types
from chimerac.compiler.ir.types import TensorType

_NAME: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*){1,2}")
_IDENTIFIER: Final = re.compile(r"[A-Za-z]\w*")
_KINDS: Final = (int, float, str)


def like_first(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    """The type rule of an op whose only result is of the type of its first operand."""
    return (operands[0],)


@dataclass(frozen=True)
class CustomOp:
    """An op of another package.

    It is a pure function of tensors, and treats every token of a call by itself. Floats are float32; integers and truth
    values int32.

    Attributes:
        torch: the PyTorch op, ``"library::name"`` or ``"library::name.overload"``: tensors first, then numbers.
        operands: names of the tensors, as PyTorch's signature has them.
        meaning: arrays by place and attributes by name → the result, or a tuple of results: what every target computes,
            bit for bit.
        infer: types of the operands and attributes → types of the results; raises ``TypeRuleError``.
        attributes: names and types of the numbers and texts after the tensors, in the order of the signature.
        row_wise: whether a row of the result depends on the same row of the operands only, whatever the other rows are.
        kernel: the body of a C function, or what builds a TensorIR function of a ``KernelSpec`` and an ``Isa``; None
            for an op that is built for ONNX only.
        ranges: of operands, the least and the greatest number that they may have: the check before a build draws from
            them, with both ends. Without one floats are drawn around zero, whole numbers from 0 to 3.
        onnx: adds the nodes of an op (``targets/onnx/context.py``), whose names it returns; None where it has no form.
    """

    torch: str
    operands: tuple[str, ...]
    meaning: Callable[..., Any]
    infer: Callable[[Types, Attributes], tuple[TensorType, ...]] = like_first
    attributes: Mapping[str, type[int] | type[float] | type[str]] = field(default_factory=dict)
    row_wise: bool = True
    kernel: str | Callable[..., Any] | None = None
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    onnx: Callable[..., tuple[str, ...]] | None = None

    @property
    def name(self) -> str:
        """In the IR: ``library.name``."""
        return self.torch.replace("::", ".").removesuffix(".default")

    @property
    def target(self) -> str:
        """As PyTorch prints it."""
        return self.name if self.name.count(".") == 2 else f"{self.name}.default"

    def reference(self, op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """The results by the meaning; raises UserError CHM306 where they are not of the types of the type rule."""
        found = self.meaning(*arrays, **op.attributes)
        results = found if isinstance(found, tuple) else (found,)
        if len(results) != len(op.results):
            raise self._wrong(f"its meaning gives {len(results)} results, its type rule {len(op.results)}")
        tokens = _tokens([operand.type for operand in op.operands], arrays)
        for index, (array, value) in enumerate(zip(results, op.results, strict=True)):
            wanted = value.type.bind(tokens)
            if not isinstance(array, np.ndarray) or (array.dtype, array.shape) != (wanted.numpy, wanted.shape):
                given = f"{array.dtype}{list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
                message = (
                    f"result {index} of its meaning is {given}, by its type rule {wanted.numpy}{list(wanted.shape)}"
                )
                raise self._wrong(message)
        return results

    def _wrong(self, why: str) -> UserError:
        return UserError("CHM306", f"op {self.torch}: {why}")


#: Name in the IR → op.
CUSTOM: Final[dict[str, CustomOp]] = {}


def register_op(op: CustomOp) -> None:
    """Add an op to this process; one of the same name takes the place of the one before.

    Raises:
        UserError: CHM306, a declaration that cannot be used.
    """
    problems = {
        "it is not named library::name": "::" not in op.torch or not _NAME.fullmatch(op.name),
        "the table of ops has one of this name": op.name in OPS and op.name not in CUSTOM,
        "it has no operand": not op.operands,
        "a name is there twice": len({*op.operands, *op.attributes}) != len(op.operands) + len(op.attributes),
        "a name is none that C may have, or begins with chm_ or out, or is n": any(
            not _IDENTIFIER.fullmatch(name) or name == "n" or name.startswith(("chm_", "out"))
            for name in (*op.operands, *op.attributes)
        ),
        "an attribute is neither int, float nor str": any(kind not in _KINDS for kind in op.attributes.values()),
        "a range is of no operand, or not of a least and a greatest finite number": any(
            name not in op.operands or not _is_range(ends) for name, ends in op.ranges.items()
        ),
        "its kernel is neither the body of a C function nor what builds one": op.kernel is not None
        and not isinstance(op.kernel, str)
        and not callable(op.kernel),
    }
    for problem, present in problems.items():
        if present:
            raise UserError("CHM306", f"op {op.torch[:80]}: {problem}", hint="docs/modules.md, Your own op")
    unregister_op(op.name)
    CUSTOM[op.name] = op
    add(
        OpDef(
            op.name,
            "an op of another package",
            op.operands,
            op.infer,
            op.reference,
            op.attributes,
            row_wise=op.row_wise,
        )
    )


def _is_range(ends: object) -> bool:
    if not isinstance(ends, tuple) or len(ends) != 2 or not all(isinstance(end, int | float) for end in ends):
        return False
    return bool(-math.inf < ends[0] <= ends[1] < math.inf)


def unregister_op(name: str) -> None:
    """Take an op out of this process, if it is there."""
    if CUSTOM.pop(name, None) is not None:
        remove(name)


def custom_target(target: str) -> CustomOp | None:
    """The op that a PyTorch op, as PyTorch prints it, is."""
    return next((op for op in CUSTOM.values() if op.target == target), None)


def attribute_of(op: CustomOp, name: str, given: object) -> Attribute:
    """A number of a call as an attribute; raises UserError CHM306 where it is of another type."""
    kind = op.attributes[name]
    if isinstance(given, bool) and kind is int:
        return int(given)
    if isinstance(given, kind) or (kind is float and type(given) is int):
        return kind(given)
    raise UserError("CHM306", f"op {op.torch}: {name} is {str(given)[:40]!r}, and is declared as {kind.__name__}")


def _tokens(types: Sequence[TensorType], arrays: Sequence[np.ndarray]) -> int:
    """The tokens of a call."""
    for kind, array in zip(types, arrays, strict=True):
        for dim, extent in zip(kind.shape, array.shape, strict=True):
            if isinstance(dim, str):
                return int(extent)
    return 1
