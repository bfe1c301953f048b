"""Handlers of PyTorch ops that look elements up by their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch.fx import Node

from chimerac.compiler.ir.module import Value
from chimerac.compiler.ir.types import TOKENS, Dim
from chimerac.frontends.export.handler import Handler, Importer, argument, dtype_of, reshape, unsupported
from chimerac.frontends.export.movement import axis_of, cut, last_token, transpose


def _embedding(importer: Importer, node: Node, makes: str) -> Any:
    """A look-up in a table that is known to have a row for each id, or one that takes the nearest row there is."""
    table, ids = (importer.value(a) for a in node.args[:2])
    importer.bound(ids, 0, int(table.type.shape[0]) - 1)
    if importer.in_range(ids):
        return importer.emit(makes, [ids, table], {}, node)
    return importer.emit("gather", [table, ids], {"axis": 0}, node)


def _index_select(importer: Importer, node: Node, makes: str) -> Any:
    value, ids = importer.value(node.args[0]), importer.value(node.args[2])
    axis = axis_of(node, node.args[1])
    _bound(importer, ids, value.type.shape[axis])
    return importer.emit(makes, [value, ids], {"axis": axis}, node)


def _bound(importer: Importer, ids: Value, extent: Dim) -> None:
    """Ids number elements of an axis, if its extent is known."""
    if isinstance(extent, int):
        importer.bound(ids, 0, extent - 1)


def _gather(importer: Importer, node: Node, makes: str) -> Any:
    """``gather``: along the other axes the operand may be longer than the ids."""
    value, ids = importer.value(node.args[0]), importer.value(node.args[2])
    axis = axis_of(node, node.args[1])
    _bound(importer, ids, value.type.shape[axis])
    for other, extent in enumerate(ids.type.shape):
        if other != axis and value.type.shape[other] != extent and isinstance(extent, int):
            value = cut(importer, value, other, 0, extent, node)
    return importer.emit(makes, [value, ids], {"axis": axis}, node)


def _index(importer: Importer, node: Node, makes: str) -> Any:
    """``x[i]``, ``x[:, i, j]``: the axes that are numbered become one, in front where they are apart."""
    value, given = importer.value(node.args[0]), node.args[1]
    assert isinstance(given, list | tuple)
    axes = [axis for axis, ids in enumerate(given) if ids is not None]
    if len(axes) == 1 and value.type.shape[axes[0]] == TOKENS and _is_last(importer, given[axes[0]]):
        return last_token(importer, value, axes[0], node)
    if any(str(dtype_of(given[axis])) == "torch.bool" for axis in axes):
        raise unsupported(node, "with truth values is not supported: how many there are depends on data; use where")
    extents = [value.type.shape[axis] for axis in axes]
    if not all(isinstance(extent, int) for extent in extents):
        raise unsupported(node, "of some of the tokens of a call is not supported")
    sizes = [int(extent) for extent in extents]
    if axes != list(range(axes[0], axes[0] + len(axes))):
        value = transpose(importer, value, [*axes, *(i for i in range(len(value.type.shape)) if i not in axes)], node)
        axes = list(range(len(axes)))
    first, shape = axes[0], value.type.shape
    value = reshape(importer, value, (*shape[:first], math.prod(sizes), *shape[first + len(axes) :]), node)
    ids = places(importer, [importer.value(ids) for ids in given if ids is not None], sizes, node)
    return reshape(importer, importer.emit(makes, [value, ids], {"axis": first}, node), importer.shape(node), node)


def _is_last(importer: Importer, ids: Any) -> bool:
    """Whether ids are the constant [-1]."""
    if not importer.evaluated.is_free(ids):
        return False
    held = importer.evaluated.of(ids)
    return tuple(held.shape) == (1,) and int(held[0]) == -1


def places(importer: Importer, ids: Sequence[Value], sizes: Sequence[int], node: Node) -> Value:
    """The numbers in one axis of what is numbered along several; those below 0 count from the end."""
    place: Value | None = None
    for number, size in zip(ids, sizes, strict=True):
        importer.bound(number, -size, size - 1)
        below = importer.emit("int_less", [number, importer.value(0, "i32")], {}, node)
        wrapped = importer.emit("int_add", [number, importer.value(size, "i32")], {}, node)
        number = importer.emit("int_where", [below, wrapped, number], {}, node)
        if place is not None:
            place = importer.emit("int_mul", [place, importer.value(size, "i32")], {}, node)
        place = number if place is None else importer.emit("int_add", [place, number], {}, node)
    assert place is not None
    return place


def _one_hot(importer: Importer, node: Node, makes: str) -> Any:
    """1 where the last axis has the number, 0 elsewhere, and everywhere for a number that it has not."""
    ids, count = importer.value(node.args[0], "i32"), argument(node, 1, "num_classes", -1)
    if not isinstance(count, int) or count < 1:
        raise unsupported(node, "is supported with a number of classes only")
    importer.bound(ids, 0, count - 1)
    own = importer.constant("classes", np.arange(count, dtype=np.int32))
    return importer.emit(makes, [reshape(importer, ids, (*importer.shape_of(node.args[0]), 1), node), own], {}, node)


HANDLERS: Mapping[str, Handler] = {
    "aten.one_hot.default": Handler(_one_hot, "int_equal"),
    "aten.embedding.default": Handler(_embedding, "embedding"),
    "aten.index_select.default": Handler(_index_select, "gather"),
    "aten.gather.default": Handler(_gather, "take_along"),
    "aten.index.Tensor": Handler(_index, "gather"),
    "aten._unsafe_index.Tensor": Handler(_index, "gather"),
}
