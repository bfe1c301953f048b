"""What a handler is, which turns a node of an exported graph into ops of the IR, and what handlers share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch.fx import GraphModule, Node

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Attribute, Op, Region, Value
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.quantised import Kind
from chimerac.compiler.ir.types import Dim, TensorType
from chimerac.frontends.export.evaluated import Evaluated


class Importer(Protocol):
    """What a handler may ask of the importer.

    Attributes:
        whole_sequence: whether the module sees a whole text at once, of which a call has a part (whole_sequence.py):
            what runs along the tokens begins at the first token of the text, and goes on from call to call.
        evaluated: values of nodes that no input decides.
    """

    whole_sequence: bool
    evaluated: Evaluated

    def value(self, argument: Any, dtype: str = "f32") -> Value:
        """The value of an argument of a node; a number becomes a constant of the element type."""

    def emit(
        self,
        name: str,
        operands: Sequence[Value],
        attributes: Mapping[str, Attribute],
        node: Node,
        *,
        types: Sequence[TensorType] | None = None,
        regions: tuple[Region, ...] = (),
    ) -> Any:
        """Append an op; its result, or a tuple of results when it has several.

        Args:
            types: of the results, where they do not follow from the operands.
        """

    def given(self, argument: Any) -> Any:
        """What the importer has for an argument: a value, a number, or several."""

    def open_region(self, node: Node, types: Sequence[TensorType]) -> tuple[Value, ...]:
        """Begin a region; its arguments."""

    def follow(self, graph: GraphModule, arguments: Sequence[Any]) -> list[Value]:
        """The results of a graph of its own."""

    def close_region(self) -> tuple[Op, ...]:
        """End the region that was begun last; its ops."""

    def constant(self, hint: str, data: np.ndarray) -> Value: ...
    def integers(self, codes: Any, scales: Any, kind: Kind, group: int) -> Value: ...
    def dynamic(self, node: Node) -> Value:
        """A value that says how many tokens there are; CHM215 if nothing does."""

    def position(self) -> Value:
        """Where the first token of a call is in the text, i32[], of a module that sees a whole text at once."""

    def carried(self, hint: str, kind: TensorType, initial: np.ndarray | None = None) -> tuple[str, Value]:
        """A state that the module does not name, of zeros or of a value: its name, and its value at the beginning of a
        call."""

    def carry(self, name: str, value: Value) -> None:
        """What a state that ``carried`` made is for the next call."""

    def extent(self, size: Any, node: Node) -> Any:
        """What PyTorch's symbolic size is: ``TOKENS``, or a value i32[] that is computed."""

    def number(self, argument: Any) -> Any:
        """A number that is an argument of a node: itself, ``TOKENS``, or a node whose number is computed."""

    def in_range(self, ids: Value) -> bool:
        """Whether ids are tokens or constants, which are checked to have rows in the tables that they number."""

    def bound(self, ids: Value, low: int, high: int) -> None:
        """Ids that are an input must be within these numbers, which whoever calls is told."""

    def shape(self, node: Node) -> tuple[Dim, ...]:
        """The shape of a node's tensor; CHM215 if another extent than that of the tokens varies."""

    def dims(self, tensor: Any, node: Node) -> tuple[Dim, ...]:
        """The shape of one of the tensors that a node gives."""

    def producer(self, value: Value) -> Op | None:
        """The op that made a value."""

    def shape_of(self, argument: Any) -> tuple[Dim, ...]:
        """The shape of a tensor argument, () of a number."""


#: Given the importer, the node and the op of the IR that it becomes: the value or values of the node.
Handle = Callable[[Importer, Node, str], Any]


@dataclass(frozen=True)
class Handler:
    """What one PyTorch op becomes.

    Attributes:
        handle: makes it.
        makes: name of the op of the IR; empty if it becomes none, or several.
        also: other ops that it becomes: of integers, of other arguments, or more than one at a time.
    """

    handle: Handle
    makes: str = ""
    also: tuple[str, ...] = ()

    @property
    def ops(self) -> tuple[str, ...]:
        """Names of all ops that it may make."""
        return (self.makes, *self.also) if self.makes else self.also


def element(dtype: torch.dtype) -> str:
    """The element type of the IR: every float is f32, every integer i32, and bool i32 of 0 and 1."""
    if dtype.is_complex:
        raise UserError("CHM211", f"tensors of {dtype} are not supported")
    return "f32" if dtype.is_floating_point else "i32"


def dtype_of(argument: Any) -> torch.dtype | None:
    """The PyTorch type of a tensor argument; None of a number."""
    held = argument.meta["val"] if isinstance(argument, Node) else argument
    return held.dtype if isinstance(held, torch.Tensor) else None


def promoted(arguments: Sequence[Any]) -> str:
    """The element type that PyTorch computes in, given tensors and numbers."""
    examples = [a.meta["val"] if isinstance(a, Node) else a for a in arguments]
    examples = [e if isinstance(e, torch.Tensor | int | float | bool) else 1 for e in examples]
    result = examples[0] if len(examples) > 1 else torch.zeros((), dtype=dtype_of(arguments[0]) or torch.float32)
    for other in examples[1:]:
        result = torch.empty((), dtype=torch.result_type(result, other), device="meta")
    if isinstance(result, torch.Tensor):
        return element(result.dtype)
    return "f32" if isinstance(result, float) else "i32"


def cast(importer: Importer, value: Value, dtype: str, node: Node) -> Value:
    """A value as f32 or i32."""
    if value.type.dtype == dtype:
        return value
    found: Value = importer.emit("to_float" if dtype == "f32" else "to_int", [value], {}, node)
    return found


def truth(importer: Importer, value: Value, node: Node) -> Value:
    """Whether each element is not 0, as i32 of 0 and 1."""
    zero = importer.value(0, value.type.dtype)
    name = "not_equal" if value.type.dtype == "f32" else "int_not_equal"
    found: Value = importer.emit(name, [value, zero], {}, node)
    return found


def operands(importer: Importer, node: Node, arguments: Sequence[Any], dtype: str) -> list[Value]:
    """Values of arguments in one element type."""
    return [cast(importer, importer.value(a, dtype), dtype, node) for a in arguments]


def result_type(node: Node) -> str:
    """The element type of a node's result."""
    return element(node.meta["val"].dtype)


def argument(node: Node, index: int, name: str, default: Any = None) -> Any:
    """An argument given by place or by name."""
    return node.args[index] if len(node.args) > index else node.kwargs.get(name, default)


def unsupported(node: Node, what: str) -> UserError:
    """CHM211 for a form of an op."""
    return UserError("CHM211", f"{node.target} {what}")


def reshape(importer: Importer, value: Value, shape: Sequence[Dim], node: Node) -> Value:
    """The elements of a value in another shape; a float without axes has one of extent 1."""
    shape = tuple(shape) or ((1,) if value.type.dtype == "f32" else ())
    if shape == value.type.shape:
        return value
    if value.type.shape == ():
        found: Value = importer.emit("broadcast", [value], {"shape": text_of(shape)}, node)
        return found
    found = importer.emit("reshape", [value], {"shape": text_of(shape)}, node)
    return found


def text_of(shape: Sequence[Dim]) -> str:
    """A shape as an attribute."""
    return ",".join(map(str, shape))


def same(importer: Importer, node: Node, makes: str) -> Any:
    """The same operands and no attributes."""
    count = len(OPS[makes].operands)
    return importer.emit(makes, operands(importer, node, node.args[:count], "f32"), {}, node)


def identity(importer: Importer, node: Node, makes: str) -> Any:
    """The operand itself."""
    return importer.value(node.args[0])
