"""Handlers of PyTorch ops that put values at places that are computed: every place finds out what is put there.

A place n of N compares itself with the K numbers of places that are written to, which costs N K comparisons and has the
same bits everywhere. Of several values for one place the last one stays, as PyTorch has it on one thread. Numbers of
places beyond the axis write nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from torch.fx import Node

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Value
from chimerac.compiler.ir.types import TOKENS, Dim
from chimerac.frontends.export.handler import (
    Handler,
    Importer,
    argument,
    cast,
    dtype_of,
    reshape,
    result_type,
    unsupported,
)
from chimerac.frontends.export.indexing import places
from chimerac.frontends.export.movement import axis_of, broadcast, cut, transpose
from chimerac.frontends.export.rewrites import EACH_ITS_OWN

_INT_MIN, _INT_MAX = -(1 << 31), (1 << 31) - 1
#: Reduction → op of floats, of integers, what changes neither, and the ops that join two of its results.
_REDUCTIONS: Final[Mapping[str, tuple[str, float, int, str, str]]] = {
    "sum": ("reduce_sum", 0.0, 0, "add", "int_add"),
    "mean": ("reduce_sum", 0.0, 0, "add", "int_add"),
    "prod": ("reduce_prod", 1.0, 1, "mul", "int_mul"),
    "amax": ("reduce_max", -math.inf, _INT_MIN, "maximum", "int_maximum"),
    "amin": ("reduce_min", math.inf, _INT_MAX, "minimum", "int_minimum"),
}


@dataclass(frozen=True)
class _Writes:
    """What is written along the last axis of a value [..., N] by numbers of places [..., K]."""

    importer: Importer
    node: Node
    base: Value
    ids: Value

    def emit(self, name: str, *operands: Value, **attributes: int | float | str) -> Value:
        made: Value = self.importer.emit(name, operands, attributes, self.node)
        return made

    def choose(self, condition: Value, one: Value, other: Value) -> Value:
        """``one`` where the condition holds."""
        return self.emit("where" if one.type.dtype == "f32" else "int_where", condition, one, other)

    @property
    def hits(self) -> Value:
        """Whether a place n takes the value k: [..., N, K]."""
        *outer, count = self.ids.type.shape
        size = int(self.base.type.shape[-1])
        own = self.importer.constant("places", np.arange(size, dtype=np.int32)[:, None])
        return self.emit("int_equal", reshape(self.importer, self.ids, (*outer, 1, count), self.node), own)

    def number(self, value: float, like: Value) -> Value:
        return self.importer.value(value, like.type.dtype)

    def reduced(self, name: str, value: Value) -> Value:
        """The last axis of [..., N, K] as one element, which goes: [..., N]."""
        found = self.emit(name, value)
        return reshape(self.importer, found, found.type.shape[:-1], self.node)

    def last(self) -> Value:
        """The last k that a place takes, -1 for none: [..., N]."""
        count = int(self.ids.type.shape[-1])
        numbers = self.importer.constant("numbers", np.arange(count, dtype=np.int32))
        return self.reduced("reduce_max", self.choose(self.hits, numbers, self.number(-1, numbers)))

    def kept(self, last: Value, found: Value) -> Value:
        """What was found where something is written, the base elsewhere."""
        return self.choose(self.emit("int_less", last, self.importer.value(0, "i32")), self.base, found)

    def terms(self, values: Value, otherwise: Value) -> Value:
        """Values [..., K] at the places that take them: [..., N, K]."""
        *outer, count = values.type.shape
        return self.choose(self.hits, reshape(self.importer, values, (*outer, 1, count), self.node), otherwise)

    def joined(self, how: str, values: Value, include_self: bool) -> Value:
        """The values of each place, and with ``include_self`` its own, reduced."""
        reduction, float_start, int_start, join, int_join = _REDUCTIONS[how]
        is_float = self.base.type.dtype == "f32"
        start = self.number(float_start if is_float else int_start, self.base)
        found = self.reduced(reduction, self.terms(values, start))
        if include_self:
            found = self.emit(join if is_float else int_join, self.base, found)
        hits = self.reduced("reduce_sum", self.hits)
        if how == "mean":
            count = self.emit("int_add", hits, self.importer.value(1, "i32")) if include_self else hits
            count = self.emit("int_maximum", count, self.importer.value(1, "i32"))
            found = self.emit("div", found, self.emit("to_float", count))
        return found if include_self else self.choose(hits, found, self.base)


def _along(importer: Importer, node: Node, values: Any) -> tuple[_Writes, Value, list[int]]:
    """A scatter along its axis, which becomes the last: what is written to, the values, and the order of the axes."""
    kind = result_type(node)
    base, ids = cast(importer, importer.value(node.args[0], kind), kind, node), importer.value(node.args[2], "i32")
    rank, axis = len(base.type.shape), axis_of(node, node.args[1])
    if len(ids.type.shape) != rank or not rank:
        raise unsupported(node, "of a number is not supported")
    if TOKENS in (base.type.shape[axis], ids.type.shape[axis]):
        raise unsupported(node, "along the tokens of a call is not supported: a call has any number of those of a text")
    if any(i != axis and ids.type.shape[i] != base.type.shape[i] for i in range(rank)):
        raise unsupported(node, "is supported with an index as large as its operand along the other axes only")
    given = cast(importer, importer.value(values, kind), kind, node)
    if len(given.type.shape) == rank and given.type.shape != ids.type.shape:
        for other, extent in enumerate(ids.type.shape):
            if given.type.shape[other] != extent and isinstance(extent, int):
                given = cut(importer, given, other, 0, extent, node)
    given = broadcast(importer, given, ids.type.shape, node)
    order = [*(i for i in range(rank) if i != axis), axis]
    base, ids, given = (transpose(importer, value, order, node) for value in (base, ids, given))
    importer.bound(ids, 0, int(base.type.shape[-1]) - 1)
    return _Writes(importer, node, base, ids), given, order


def _back(importer: Importer, value: Value, order: Sequence[int], node: Node) -> Value:
    return transpose(importer, value, [order.index(i) for i in range(len(order))], node)


def _scatter(importer: Importer, node: Node, makes: str) -> Any:
    """``scatter``: the last value of each place."""
    writes, values, order = _along(importer, node, node.args[3])
    last = writes.last()
    found = writes.emit("take_along", values, last, axis=len(order) - 1)
    return _back(importer, writes.kept(last, found), order, node)


def _reducing(how: Callable[[Node], tuple[str, bool]]) -> Callable[[Importer, Node, str], Any]:
    def handle(importer: Importer, node: Node, makes: str) -> Any:
        reduction, include_self = how(node)
        if reduction == "mean" and result_type(node) == "i32":
            raise unsupported(node, "of means of integers is not supported")
        writes, values, order = _along(importer, node, node.args[3])
        return _back(importer, writes.joined(reduction, values, include_self), order, node)

    return handle


def _index_put(importer: Importer, node: Node, makes: str) -> Any:
    """``x[:, i, j] = y``, and ``+=``: the axes that are numbered become one, the last."""
    kind, given = result_type(node), node.args[1]
    assert isinstance(given, list | tuple)
    axes = [axis for axis, ids in enumerate(given) if ids is not None]
    base = cast(importer, importer.value(node.args[0], kind), kind, node)
    values = cast(importer, importer.value(node.args[2], kind), kind, node)
    accumulate = bool(argument(node, 3, "accumulate", False))
    if any(str(dtype_of(given[axis])) == "torch.bool" for axis in axes):
        return _masked_put(importer, node, base, axes, values, accumulate)
    sizes = [base.type.shape[axis] for axis in axes]
    numbers = [importer.value(given[axis], "i32") for axis in axes]
    if TOKENS in sizes or any(TOKENS in ids.type.shape for ids in numbers):
        message = f"{node.target} at some of the tokens of a call, or at a place for each of them, is not supported"
        raise UserError("CHM211", message, hint=EACH_ITS_OWN)
    ids = places(importer, numbers, [int(size) for size in sizes], node)
    others = [axis for axis in range(len(base.type.shape)) if axis not in axes]
    together = axes == list(range(axes[0], axes[0] + len(axes)))
    first = axes[0] if together else 0
    rest: list[Dim] = [base.type.shape[axis] for axis in others]
    count = math.prod(int(extent) for extent in ids.type.shape)
    whole = [*rest[:first], *ids.type.shape, *rest[first:]]
    values = broadcast(importer, values, whole, node)
    values = reshape(importer, values, [*rest[:first], count, *rest[first:]], node)
    values = transpose(importer, values, [*(i for i in range(len(rest) + 1) if i != first), first], node)
    order = [*others, *axes]
    moved = transpose(importer, base, order, node)
    writes = _Writes(
        importer,
        node,
        reshape(importer, moved, [*rest, math.prod(int(size) for size in sizes)], node),
        reshape(importer, ids, (count,), node),
    )
    if accumulate and kind == "f32":
        made = _added(writes, values)
    elif accumulate:
        made = writes.joined("sum", values, include_self=True)
    else:
        last = writes.last()
        made = writes.kept(last, writes.emit("gather", values, last, axis=len(rest)))
    return _back(importer, reshape(importer, made, moved.type.shape, node), order, node)


def _added(writes: _Writes, values: Value) -> Value:
    """Values [..., K] added to their places, as a product with what is 1 where a place takes a value."""
    importer, node, shape = writes.importer, writes.node, writes.base.type.shape
    rows = values if len(shape) > 1 else reshape(importer, values, (1, *values.type.shape), node)
    found = writes.emit("matmul", rows, writes.emit("to_float", writes.hits))
    return writes.emit("add", writes.base, reshape(importer, found, shape, node))


def _masked_put(
    importer: Importer, node: Node, base: Value, axes: Sequence[int], values: Value, accumulate: bool
) -> Value:
    """``x[mask] = y`` where y is the same for all places, or but for the axes behind those of the mask."""
    given: Any = node.args[1]
    mask = importer.value(given[axes[0]], "i32")
    behind = len(base.type.shape) - axes[0] - len(mask.type.shape)
    shape, extra = values.type.shape, len(values.type.shape) - behind
    if len(axes) > 1 or (extra > 0 and any(extent != 1 for extent in shape[:extra])):
        raise unsupported(
            node,
            "with truth values is supported with one value for all places only: how many there are depends on data",
        )
    values = reshape(importer, values, shape[max(extra, 0) :] or (1,), node)
    values = broadcast(importer, values, base.type.shape, node)
    mask = reshape(importer, mask, (*mask.type.shape, *[1] * behind), node)
    is_float = base.type.dtype == "f32"
    if accumulate:
        values = importer.emit("add" if is_float else "int_add", [base, values], {}, node)
    found: Value = importer.emit("where" if is_float else "int_where", [mask, values, base], {}, node)
    return found


def _asked(node: Node) -> tuple[str, bool]:
    return str(node.args[4]), bool(argument(node, 5, "include_self", True))


#: Ops that compare places, and choose by it.
_CHOOSING: Final = ("int_equal", "where", "int_where")
_REDUCING: Final = ("int_maximum", "reduce_prod", "reduce_max", "reduce_min", *_CHOOSING)

HANDLERS: Mapping[str, Handler] = {
    "aten.scatter.src": Handler(_scatter, "take_along", ("reduce_max", *_CHOOSING)),
    "aten.scatter.value": Handler(_scatter, "take_along", ("reduce_max", *_CHOOSING)),
    "aten.scatter_add.default": Handler(_reducing(lambda node: ("sum", True)), "reduce_sum", _CHOOSING),
    "aten.scatter_reduce.two": Handler(_reducing(_asked), "reduce_sum", _REDUCING),
    "aten.index_put.default": Handler(_index_put, "gather", ("reduce_max", "matmul", *_CHOOSING)),
}
