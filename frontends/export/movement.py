"""Handlers of PyTorch ops that move elements: shapes, parts, orders, fillings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.fx import Node

from chimerac.compiler.ir.module import Value
from chimerac.compiler.ir.ops.movement import tokens_axis
from chimerac.compiler.ir.types import TOKENS, Dim
from chimerac.frontends.export.handler import (
    Handle,
    Handler,
    Importer,
    argument,
    cast,
    reshape,
    result_type,
    text_of,
    unsupported,
)


def _reshape(importer: Importer, node: Node, makes: str) -> Any:
    return reshape(importer, importer.value(node.args[0]), importer.shape(node), node)


def axis_of(node: Node, given: Any, *, extra: int = 0) -> int:
    """A dimension of the first operand, counted from 0."""
    first = node.args[0]
    assert isinstance(first, Node)
    rank = len(first.meta["val"].shape) + extra
    if not isinstance(given, int):
        raise unsupported(node, "with such a dimension is not supported")
    return given % rank if rank else 0


def transpose(importer: Importer, value: Value, order: Sequence[int], node: Node) -> Value:
    """Axes in another order; where only axes of 1 change their places, the same memory."""
    shape = [value.type.shape[axis] for axis in order]
    moved = [axis for axis in order if value.type.shape[axis] != 1]
    if moved == sorted(moved):
        return reshape(importer, value, shape, node)
    found: Value = importer.emit("transpose", [value], {"perm": text_of(order)}, node)
    return found


def _permute(importer: Importer, node: Node, makes: str) -> Any:
    value = importer.value(node.args[0])
    order = [axis_of(node, d) for d in _numbers(node, node.args[1])]
    return transpose(importer, value, order, node)


def _swap(importer: Importer, node: Node, makes: str) -> Any:
    value = importer.value(node.args[0])
    order = list(range(len(value.type.shape)))
    first, second = (axis_of(node, d) for d in (node.args[1:3] if len(node.args) > 1 else (0, 1)))
    if len(order) > 1:
        order[first], order[second] = order[second], order[first]
    return transpose(importer, value, order, node)


def _turn(importer: Importer, node: Node, makes: str) -> Any:
    """``t``: the two axes of a matrix."""
    value = importer.value(node.args[0])
    return transpose(importer, value, list(range(len(value.type.shape)))[::-1], node)


def _numbers(node: Node, given: Any) -> list[int]:
    if not isinstance(given, list | tuple) or not all(isinstance(n, int) for n in given):
        raise unsupported(node, "is supported with fixed numbers only")
    return [int(n) for n in given]


def broadcast(importer: Importer, value: Value, shape: Sequence[Dim], node: Node) -> Value:
    """A value repeated to a shape."""
    shape = tuple(shape) or ((1,) if value.type.dtype == "f32" else ())
    if value.type.shape == shape:
        return value
    like = [importer.dynamic(node)] if TOKENS in shape and not value.type.is_dynamic else []
    found: Value = importer.emit("broadcast", [value, *like], {"shape": text_of(shape)}, node)
    return found


def _expand(importer: Importer, node: Node, makes: str) -> Any:
    return broadcast(importer, importer.value(node.args[0]), importer.shape(node), node)


def _repeat(importer: Importer, node: Node, makes: str) -> Any:
    """Each axis after one of its repeats, which then become one."""
    value = importer.value(node.args[0])
    times = _numbers(node, node.args[1])
    shape = (1,) * (len(times) - len(value.type.shape)) + value.type.shape
    if value.type.shape == (1,) and not importer.shape_of(node.args[0]):
        shape = (1,) * len(times)
    apart = [d for extent in shape for d in (1, extent)]
    spread = [d for count, extent in zip(times, shape, strict=True) for d in (count, extent)]
    made = broadcast(importer, reshape(importer, value, apart, node), spread, node)
    return reshape(importer, made, importer.shape(node), node)


def cut(importer: Importer, value: Value, axis: int, start: int, stop: int, node: Node, step: int = 1) -> Value:
    """Elements of an axis; the last axis and a step of 1 go without saying."""
    shape = value.type.shape
    if (start, stop, step) == (0, shape[axis], 1):
        return value
    attributes = {"start": start, "stop": stop}
    attributes |= {"axis": axis} if axis != len(shape) - 1 or step != 1 else {}
    attributes |= {"step": step} if step != 1 else {}
    found: Value = importer.emit("slice", [value], attributes, node)
    return found


def _extent(value: Value, axis: int, node: Node, what: str) -> int:
    """The extent of an axis that is not that of the tokens."""
    extent = value.type.shape[axis]
    if not isinstance(extent, int):
        raise unsupported(node, f"{what} the tokens of a call is not supported: it may have any number of them")
    return extent


def last_token(importer: Importer, value: Value, axis: int, node: Node) -> Value:
    """What belongs to the last token of the call: the one part along that axis that every call has."""
    if tokens_axis(value.type.shape) != axis:
        order = [axis, *(i for i in range(len(value.type.shape)) if i != axis)]
        value = importer.emit("transpose", [value], {"perm": text_of(order)}, node)
        last = importer.emit("last_token", [value], {}, node)
        back = [order.index(i) for i in range(len(order))]
        return transpose(importer, last, back, node)
    found: Value = importer.emit("last_token", [value], {}, node)
    return found


def rows_of_tokens(importer: Importer, table: Value, axis: int, node: Node) -> Value:
    """The rows of a table that belong to the tokens of a call, which are first in the table at the start of a text."""
    places = importer.emit("iota", [importer.dynamic(node)], {}, node)
    places = importer.emit("int_add", [places, importer.position()], {}, node)
    found: Value = importer.emit("gather", [table, places], {"axis": axis}, node)
    return found


def _slice(importer: Importer, node: Node, makes: str) -> Any:
    value = importer.value(node.args[0])
    axis = axis_of(node, argument(node, 1, "dim", 0))
    start, stop = argument(node, 2, "start"), argument(node, 3, "end")
    step = argument(node, 4, "step", 1)
    if value.type.shape[axis] == TOKENS:
        whole = start in (None, 0) and (not isinstance(stop, int) or stop >= 1 << 30) and step == 1
        if whole and (stop is None or isinstance(stop, int) or importer.number(stop) == TOKENS):
            return value
        if start == -1 and (stop is None or (isinstance(stop, int) and stop >= 1 << 30)):
            return last_token(importer, value, axis, node)
    extent = _extent(value, axis, node, "of a part of")
    if importer.whole_sequence and start in (None, 0) and step == 1 and importer.number(stop) == TOKENS:
        return rows_of_tokens(importer, value, axis, node)
    if not all(isinstance(bound, int | None) for bound in (start, stop)):
        raise unsupported(node, "is supported with fixed bounds only")
    begin, end, _ = slice(start, stop).indices(extent)
    if begin >= end:
        raise unsupported(node, "of nothing is not supported")
    return cut(importer, value, axis, begin, end, node, step)


def _select(importer: Importer, node: Node, makes: str) -> Any:
    value = importer.value(node.args[0])
    axis, index = axis_of(node, node.args[1]), node.args[2]
    if value.type.shape[axis] == TOKENS and index == -1:
        return reshape(importer, last_token(importer, value, axis, node), importer.shape(node), node)
    extent = _extent(value, axis, node, "of one of")
    if not isinstance(index, int):
        raise unsupported(node, "is supported with a fixed index only")
    part = cut(importer, value, axis, index % extent, index % extent + 1, node)
    return reshape(importer, part, importer.shape(node), node)


def _parts(axis_place: int) -> Handle:
    """``split``, ``chunk`` and the like, of which PyTorch says how large the parts are."""

    def handle(importer: Importer, node: Node, makes: str) -> Any:
        value = importer.value(node.args[0])
        axis = axis_of(node, argument(node, axis_place, "dim", 0))
        results, start = [], 0
        for part in node.meta["val"]:
            if len(node.meta["val"]) == 1:
                return (value,)
            _extent(value, axis, node, "of")
            stop = start + int(part.shape[axis])
            attributes = {"start": start, "stop": stop}
            attributes |= {"axis": axis} if axis != len(value.type.shape) - 1 else {}
            results.append(importer.emit("slice", [value], attributes, node))
            start = stop
        return tuple(results)

    return handle


def _unbind(importer: Importer, node: Node, makes: str) -> Any:
    value = importer.value(node.args[0])
    axis = axis_of(node, argument(node, 1, "dim", 0))
    extent = _extent(value, axis, node, "of each of")
    shape = [d for i, d in enumerate(value.type.shape) if i != axis]
    parts = [cut(importer, value, axis, i, i + 1, node) for i in range(extent)]
    return tuple(reshape(importer, part, shape, node) for part in parts)


def join(importer: Importer, values: Sequence[Value], axis: int, node: Node) -> Value:
    """Values side by side along an axis."""
    if len(values) == 1:
        return values[0]
    for value in values:
        _extent(value, axis, node, "of others and")
    last = axis == len(values[0].type.shape) - 1
    found: Value = importer.emit("concat", values, {} if last else {"axis": axis}, node)
    return found


def _tensors(importer: Importer, node: Node) -> list[Value]:
    parts = node.args[0]
    assert isinstance(parts, list | tuple)
    kind = result_type(node)
    kept = [p for p in parts if importer.shape_of(p) != (0,)]  # PyTorch leaves these out
    return [cast(importer, importer.value(part), kind, node) for part in kept]


def _concat(importer: Importer, node: Node, makes: str) -> Any:
    values = _tensors(importer, node)
    axis = int(argument(node, 1, "dim", 0)) % len(values[0].type.shape)
    return join(importer, values, axis, node)


def _stack(importer: Importer, node: Node, makes: str) -> Any:
    shape = importer.shape(node)
    axis = int(argument(node, 1, "dim", 0)) % len(shape)
    single = (*shape[:axis], 1, *shape[axis + 1 :])
    return join(importer, [reshape(importer, v, single, node) for v in _tensors(importer, node)], axis, node)


def _flip(importer: Importer, node: Node, makes: str) -> Any:
    value = importer.value(node.args[0])
    for dim in _numbers(node, node.args[1]):
        axis = axis_of(node, dim)
        extent = _extent(value, axis, node, "of the reverse of")
        if extent > 1:
            value = cut(importer, value, axis, extent - 1, -1, node, -1)
    return value


def _roll(importer: Importer, node: Node, makes: str) -> Any:
    value = importer.value(node.args[0])
    shifts = _numbers(node, node.args[1])
    dims = _numbers(node, argument(node, 2, "dims", []))
    if not dims:
        value = reshape(importer, value, [_count(value, node)], node)
    for shift, dim in zip(shifts, [axis_of(node, d) for d in dims] or [0], strict=True):
        extent = _extent(value, dim, node, "of a turn of")
        if shift % extent:
            middle = extent - shift % extent
            parts = [cut(importer, value, dim, middle, extent, node), cut(importer, value, dim, 0, middle, node)]
            value = join(importer, parts, dim, node)
    return reshape(importer, value, importer.shape(node), node)


def _count(value: Value, node: Node) -> int:
    if value.type.is_dynamic:
        raise unsupported(node, "of all elements is not supported where the tokens are among them")
    return value.type.elements()


def pad(importer: Importer, value: Value, axis: int, before: int, after: int, filling: float, node: Node) -> Value:
    """Elements before and after those of an axis; negative numbers cut instead."""
    if before < 0 or after < 0:
        extent = _extent(value, axis, node, "of a part of")
        value = cut(importer, value, axis, max(0, -before), extent - max(0, -after), node)
        before, after = max(0, before), max(0, after)
    if before or after:
        _extent(value, axis, node, "of more than")
        attributes = {"axis": axis, "before": before, "after": after, "value": float(filling)}
        value = importer.emit("pad", [value], attributes, node)
    return value


def _constant_pad(importer: Importer, node: Node, makes: str) -> Any:
    value = importer.value(node.args[0])
    widths = _numbers(node, node.args[1])
    filling = argument(node, 2, "value", 0) or 0
    for i in range(0, len(widths), 2):
        axis = len(value.type.shape) - 1 - i // 2
        value = pad(importer, value, axis, widths[i], widths[i + 1], float(filling), node)
    return value


def _scatter(width: Callable[[Node, int], tuple[int, int]]) -> Handle:
    """A part of a value replaced: what is before it, the new part, what is behind it."""

    def handle(importer: Importer, node: Node, makes: str) -> Any:
        value, part = importer.value(node.args[0]), importer.value(node.args[1], result_type(node))
        part = cast(importer, part, result_type(node), node)
        axis = axis_of(node, argument(node, 2, "dim", 0))
        start, stop = width(node, _extent(value, axis, node, "of a change of a part of"))
        shape = (*value.type.shape[:axis], stop - start, *value.type.shape[axis + 1 :])
        filled = broadcast(importer, part, shape, node) if part.type.shape == (1,) else part
        parts = [reshape(importer, filled, shape, node)]
        if start:
            parts.insert(0, cut(importer, value, axis, 0, start, node))
        if stop < int(value.type.shape[axis]):
            parts.append(cut(importer, value, axis, stop, int(value.type.shape[axis]), node))
        return join(importer, parts, axis, node)

    return handle


def _slice_bounds(node: Node, extent: int) -> tuple[int, int]:
    start, stop, step = argument(node, 3, "start"), argument(node, 4, "end"), argument(node, 5, "step", 1)
    if step != 1 or not all(isinstance(bound, int | None) for bound in (start, stop)):
        raise unsupported(node, "is supported with fixed bounds and step 1 only")
    begin, end, _ = slice(start, stop).indices(extent)
    return begin, end


def _one_place(node: Node, extent: int) -> tuple[int, int]:
    index = node.args[3]
    if not isinstance(index, int):
        raise unsupported(node, "is supported with a fixed index only")
    return index % extent, index % extent + 1


_RESHAPE = Handler(_reshape, "reshape")

HANDLERS: Mapping[str, Handler] = {
    **dict.fromkeys(
        (
            "aten.view.default",
            "aten.reshape.default",
            "aten.unsqueeze.default",
            "aten.squeeze.dim",
            "aten.squeeze.dims",
            "aten.squeeze.default",
            "aten._unsafe_view.default",
            "aten.flatten.using_ints",
            "aten.unflatten.int",
        ),
        _RESHAPE,
    ),
    "aten.permute.default": Handler(_permute, "transpose"),
    "aten.transpose.int": Handler(_swap, "transpose"),
    "aten.t.default": Handler(_turn, "transpose"),
    "aten.expand.default": Handler(_expand, "broadcast"),
    "aten.expand_as.default": Handler(_expand, "broadcast"),
    "aten.repeat.default": Handler(_repeat, "broadcast"),
    "aten.slice.Tensor": Handler(_slice, "slice", ("last_token",)),
    "aten.select.int": Handler(_select, "slice", ("last_token",)),
    "aten.split.Tensor": Handler(_parts(2), "slice"),
    "aten.split_with_sizes.default": Handler(_parts(2), "slice"),
    "aten.chunk.default": Handler(_parts(2), "slice"),
    "aten.unbind.int": Handler(_unbind, "slice"),
    "aten.flip.default": Handler(_flip, "slice"),
    "aten.cat.default": Handler(_concat, "concat"),
    "aten.stack.default": Handler(_stack, "concat"),
    "aten.roll.default": Handler(_roll, "concat"),
    "aten.slice_scatter.default": Handler(_scatter(_slice_bounds), "concat"),
    "aten.select_scatter.default": Handler(_scatter(_one_place), "concat"),
    "aten.constant_pad_nd.default": Handler(_constant_pad, "pad"),
}
