"""Handlers of PyTorch ops that make tensors of nothing: places, one number everywhere, sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch.fx import Node

from chimerac.frontends.export.handler import Handle, Handler, Importer, cast, element, result_type, unsupported
from chimerac.frontends.export.movement import broadcast


def _arange(importer: Importer, node: Node, makes: str) -> Any:
    """Of a fixed number of elements a constant, else the places of the tokens, in the text where that is known."""
    numbers = [importer.number(a) for a in node.args]
    start = numbers[0] if len(numbers) > 1 else node.kwargs.get("start", 0)
    step = numbers[2] if len(numbers) > 2 else node.kwargs.get("step", 1)
    return _places(importer, node, start, step)


def _prims_iota(importer: Importer, node: Node, makes: str) -> Any:
    return _places(importer, node, node.kwargs.get("start", 0), node.kwargs.get("step", 1))


def _places(importer: Importer, node: Node, start: Any, step: Any) -> Any:
    kind = result_type(node)
    (extent,) = importer.shape(node)
    known = all(isinstance(n, int | float) for n in (start, step))
    if isinstance(extent, int) and known:
        data = start + step * np.arange(extent)
        return importer.constant("arange", data.astype(np.float32 if kind == "f32" else np.int32))
    if isinstance(extent, int):
        raise unsupported(node, "is supported from a fixed number, or for each token")
    places = importer.emit("iota", [importer.dynamic(node)], {}, node)
    if importer.whole_sequence:
        places = importer.emit("int_add", [places, importer.position()], {}, node)
    places = cast(importer, places, kind, node)
    prefix = "" if kind == "f32" else "int_"
    if step != 1:
        places = importer.emit(f"{prefix}mul", [places, importer.value(step, kind)], {}, node)
    if start != 0:
        places = importer.emit(f"{prefix}add", [places, importer.value(start, kind)], {}, node)
    return places


def _full(filling: Callable[[Node], Any]) -> Handle:
    """One number everywhere."""

    def handle(importer: Importer, node: Node, makes: str) -> Any:
        kind = element(node.meta["val"].dtype)
        value = cast(importer, importer.value(filling(node), kind), kind, node)
        return broadcast(importer, value, importer.shape(node), node)

    return handle


def _zeros_like(importer: Importer, node: Node, makes: str) -> Any:
    value = importer.value(node.args[0])
    if value.type.dtype == "f32" and result_type(node) == "f32":
        return importer.emit(makes, [value], {}, node)
    return _full(lambda node: 0)(importer, node, makes)


def _tensor_size(importer: Importer, node: Node, makes: str) -> Any:
    """An extent: a number, or that of the tokens."""
    extent = node.meta["val"]
    return int(extent) if isinstance(extent, int) else importer.extent(extent, node)


HANDLERS: Mapping[str, Handler] = {
    "aten.sym_size.int": Handler(_tensor_size, "token_count"),
    "aten.arange.default": Handler(_arange, "iota"),
    "aten.arange.start": Handler(_arange, "iota"),
    "aten.arange.start_step": Handler(_arange, "iota"),
    "prims.iota.default": Handler(_prims_iota, "iota"),
    "aten.zeros_like.default": Handler(_zeros_like, "zero"),
    "aten.ones_like.default": Handler(_full(lambda node: 1), "broadcast"),
    "aten.full_like.default": Handler(_full(lambda node: node.args[1]), "broadcast"),
    "aten.zeros.default": Handler(_full(lambda node: 0), "broadcast"),
    "aten.ones.default": Handler(_full(lambda node: 1), "broadcast"),
    "aten.empty.memory_format": Handler(_full(lambda node: 0), "broadcast"),
    "aten.full.default": Handler(_full(lambda node: node.args[1]), "broadcast"),
    "aten.new_zeros.default": Handler(_full(lambda node: 0), "broadcast"),
    "aten.new_ones.default": Handler(_full(lambda node: 1), "broadcast"),
    "aten.new_full.default": Handler(_full(lambda node: node.args[2]), "broadcast"),
    "aten.scalar_tensor.default": Handler(_full(lambda node: node.args[0])),
}
