"""Handlers of PyTorch ops that multiply matrices, convolutions and pooling among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch.fx import Node

from chimerac.compiler.ir.module import Value
from chimerac.compiler.ir.types import TOKENS, Dim
from chimerac.frontends.export.handler import Handler, Importer, argument, operands, reshape, text_of, unsupported
from chimerac.frontends.export.movement import pad, transpose
from chimerac.frontends.export.open_neurons import reads_open_rows
from chimerac.frontends.export.reductions import mean


def _linear(importer: Importer, node: Node, makes: str) -> Any:
    given = operands(importer, node, [a for a in node.args if a is not None], "f32")
    if len(given[0].type.shape) == 0 or given[1].type.is_dynamic or len(given[1].type.shape) != 2:
        raise unsupported(node, "with such a weight is not supported")
    x, weight, *biases = given
    if not reads_open_rows(importer, *node.args[:2]):
        return importer.emit(makes, given, {}, node)
    result = importer.emit("sparse_linear", [x, turned(importer, weight, node)], {}, node)
    return importer.emit("add", [result, *biases], {}, node) if biases else result


def turned(importer: Importer, value: Value, node: Node) -> Value:
    """The last two axes the other way round; what was turned before is taken as it was."""
    rank = len(value.type.shape)
    order = [*range(rank - 2), rank - 1, rank - 2]
    made_by = importer.producer(value)
    if made_by is not None and made_by.name == "transpose" and made_by.text("perm") == text_of(order):
        return made_by.operands[0]
    return transpose(importer, value, order, node)


def _same_batch(a: Value, b: Value) -> bool:
    """Whether the tokens are on one axis of both, before those of the matrices."""
    places = [list(value.type.shape).index(TOKENS) - len(value.type.shape) for value in (a, b)]
    return places[0] == places[1] < -2


def multiply(importer: Importer, a: Value, b: Value, node: Node, sources: Sequence[Any] = ()) -> Value:
    """a [..., M, K] @ b [..., K, N]; ``sources`` are the arguments that they come from."""
    if a.type.shape[-1] == TOKENS:
        raise unsupported(node, "that adds up over the tokens of a call is not supported")
    if TOKENS in (b.type.shape[-1], *b.type.shape[:-2]) and a.type.is_dynamic and not _same_batch(a, b):
        raise unsupported(node, "of the tokens of a call with each other is not supported: a text is cut anywhere")
    fixed = len(b.type.shape) == 2 and not b.type.is_dynamic
    if fixed and sources and reads_open_rows(importer, *sources):
        sparse: Value = importer.emit("sparse_linear", [a, b], {}, node)
        return sparse
    name = "linear" if fixed else "matmul"
    found: Value = importer.emit(name, [a, turned(importer, b, node)], {}, node)
    return found


def _matmul(importer: Importer, node: Node, makes: str) -> Any:
    """``matmul`` of vectors, too, which are matrices of one row or column."""
    a, b = operands(importer, node, node.args[:2], "f32")
    a = reshape(importer, a, (1, *a.type.shape), node) if len(a.type.shape) == 1 else a
    b = reshape(importer, b, (*b.type.shape, 1), node) if len(b.type.shape) == 1 else b
    return reshape(importer, multiply(importer, a, b, node, node.args[:2]), importer.shape(node), node)


def _add_matmul(importer: Importer, node: Node, makes: str) -> Any:
    """beta * c + alpha * a @ b."""
    c, a, b = operands(importer, node, node.args[:3], "f32")
    result = multiply(importer, a, b, node, node.args[1:3])
    for value, name in ((result, "alpha"), (c, "beta")):
        factor = node.kwargs.get(name, 1)
        if factor != 1:
            scaled = importer.emit("mul", [value, importer.value(factor)], {}, node)
            result, c = (scaled, c) if name == "alpha" else (result, scaled)
    return importer.emit("add", [result, c], {}, node)


def _numbers(given: Any, rank: int, default: int) -> list[int]:
    """A number for each axis."""
    if given is None or given == []:
        return [default] * rank
    found = [int(n) for n in (given if isinstance(given, list | tuple) else [given])]
    return found * rank if len(found) == 1 else found


def _patches(
    importer: Importer,
    value: Value,
    sizes: tuple[Sequence[int], Sequence[int], Sequence[int], Sequence[int]],
    filling: float,
    node: Node,
    more: Sequence[int] | None = None,
) -> Value:
    """x [B, C, S…] to [B, places…, C, kernel…]; sizes: kernel, stride, padding, dilation; ``more``: behind the axes."""
    kernel, stride, padding, dilation = sizes
    front = len(value.type.shape) - len(kernel)
    if any(not isinstance(d, int) for d in value.type.shape[front:]):
        raise unsupported(node, "over the tokens of a call is not supported: what is beyond its ends is not known")
    for i, width in enumerate(padding):
        value = pad(importer, value, front + i, width, width + (more[i] if more else 0), filling, node)
    attributes = {"kernel": text_of(kernel), "stride": text_of(stride), "dilation": text_of(dilation)}
    found: Value = importer.emit("unfold", [value], attributes, node)
    return found


def _convolve(importer: Importer, node: Node, makes: str) -> Any:
    """weight [O, C / groups, kernel…] times patches, in groups of channels: [B, groups, O / groups, places]."""
    x, weight, *_ = operands(importer, node, node.args[:2], "f32")
    if str(node.target) == "aten.convolution.default":
        bias, stride, padding, dilation, transposed, _, groups = node.args[2:9]
        if transposed:
            raise unsupported(node, "that is transposed is not supported")
    else:
        bias, stride = argument(node, 2, "bias"), argument(node, 3, "stride")
        padding, dilation = argument(node, 4, "padding"), argument(node, 5, "dilation")
        groups = argument(node, 6, "groups", 1)
    kernel = [int(d) for d in weight.type.shape[2:]]
    rank, count = len(kernel), int(str(groups))
    single = len(x.type.shape) == rank + 1
    shape = (1, *x.type.shape) if single else x.type.shape
    batch, channels, *sides = shape
    within = int(str(channels)) // count
    apart: tuple[Dim, ...] = (batch, within, *sides) if count == 1 else (batch, count, within, *sides)
    sizes = (kernel, _numbers(stride, rank, 1), _numbers(padding, rank, 0), _numbers(dilation, rank, 1))
    patches = _patches(importer, reshape(importer, x, apart, node), sizes, 0.0, node)
    places = [int(str(d)) for d in patches.type.shape[len(apart) - rank - 1 : len(apart) - 1]]
    size = within * math.prod(kernel)
    outputs = int(str(weight.type.shape[0]))
    patches = reshape(importer, patches, (batch, *([count] if count > 1 else []), math.prod(places), size), node)
    matrix = (count, outputs // count, size) if count > 1 else (outputs, size)
    product = importer.emit(makes, [reshape(importer, weight, matrix, node), patches], {}, node)
    result = reshape(importer, product, (batch, outputs, *places), node)
    if bias is not None:
        held = reshape(importer, importer.value(bias), (outputs, *(1,) * rank), node)
        result = importer.emit("add", [result, held], {}, node)
    return reshape(importer, result, importer.shape(node), node)


def _window(node: Node, rank: int) -> tuple[list[int], list[int], list[int]]:
    """Kernel, stride and padding of a pooling."""
    kernel = _numbers(argument(node, 1, "kernel_size"), rank, 1)
    stride = argument(node, 2, "stride")
    strides = kernel if stride in (None, []) else _numbers(stride, rank, 1)
    return kernel, strides, _numbers(argument(node, 3, "padding"), rank, 0)


def _overhang(node: Node, value: Value, sizes: Sequence[Sequence[int]]) -> list[int]:
    """With ``ceil_mode``: by how much the last window reaches beyond the padding."""
    kernel, stride, padding, dilation = sizes
    held = node.meta["val"][0] if isinstance(node.meta["val"], tuple | list) else node.meta["val"]
    places = [int(d) for d in held.shape[-len(kernel) :]]
    sides = [int(str(d)) for d in value.type.shape[-len(kernel) :]]
    return [
        max(0, (p - 1) * s + (k - 1) * d + 1 - side - 2 * w)
        for p, s, k, d, side, w in zip(places, stride, kernel, dilation, sides, padding, strict=True)
    ]


def _pooled(importer: Importer, node: Node, value: Value, sizes: Any, filling: float, reduce: Any) -> Value:
    """A window over each channel by itself, reduced."""
    rank = len(sizes[0])
    front = value.type.shape[: len(value.type.shape) - rank]
    alone = reshape(importer, value, (*front, 1, *value.type.shape[len(front) :]), node)
    patches = _patches(importer, alone, sizes, filling, node, _overhang(node, value, sizes))
    places = patches.type.shape[len(front) : len(front) + rank]
    flat = reshape(importer, patches, (*front, *places, math.prod(sizes[0])), node)
    return reshape(importer, reduce(flat), (*front, *places), node)


def _max_pool(rank: int) -> Any:
    def handle(importer: Importer, node: Node, makes: str) -> Any:
        (value,) = operands(importer, node, node.args[:1], "f32")
        kernel, stride, padding = _window(node, rank)
        sizes = (kernel, stride, padding, _numbers(argument(node, 4, "dilation"), rank, 1))
        made = _pooled(importer, node, value, sizes, -math.inf, lambda x: importer.emit(makes, [x], {}, node))
        return made if "with_indices" not in str(node.target) else (made, None)

    return handle


def _average_pool(rank: int) -> Any:
    def handle(importer: Importer, node: Node, makes: str) -> Any:
        (value,) = operands(importer, node, node.args[:1], "f32")
        kernel, stride, padding = _window(node, rank)
        sizes = (kernel, stride, padding, [1] * rank)
        whole = argument(node, 5, "count_include_pad", True) or not any(padding)
        if not whole or any(_overhang(node, value, sizes)) or argument(node, 6, "divisor_override") is not None:
            raise unsupported(node, "is supported where every window counts all that is under it only")
        return _pooled(importer, node, value, sizes, 0.0, lambda x: mean(importer, x, node))

    return handle


def _adaptive(importer: Importer, node: Node, makes: str) -> Any:
    """Average pooling to a size that divides the sides."""
    (value,) = operands(importer, node, node.args[:1], "f32")
    given = node.args[1]
    rank = len(given) if isinstance(given, list | tuple) else 1
    sides = [int(str(d)) for d in value.type.shape[-rank:]]
    wanted = [int(d) for d in importer.shape(node)[-rank:]]
    if any(side % size for side, size in zip(sides, wanted, strict=True)):
        raise unsupported(node, f"from {sides} to {wanted} is not supported: each side must be a multiple")
    kernel = [side // size for side, size in zip(sides, wanted, strict=True)]
    sizes = (kernel, kernel, [0] * rank, [1] * rank)
    return _pooled(importer, node, value, sizes, 0.0, lambda x: mean(importer, x, node))


HANDLERS: Mapping[str, Handler] = {
    "aten.linear.default": Handler(_linear, "linear", ("sparse_linear",)),
    **{
        f"aten.{name}.default": Handler(_matmul, "matmul", ("linear", "sparse_linear"))
        for name in ("matmul", "mm", "bmm", "mv", "dot")
    },
    **{
        f"aten.{name}.default": Handler(_add_matmul, "matmul", ("linear", "sparse_linear", "add"))
        for name in ("addmm", "baddbmm")
    },
    "aten.conv1d.default": Handler(_convolve, "matmul", ("unfold",)),
    "aten.conv2d.default": Handler(_convolve, "matmul", ("unfold",)),
    "aten.convolution.default": Handler(_convolve, "matmul", ("unfold",)),
    "aten.max_pool1d.default": Handler(_max_pool(1), "reduce_max", ("unfold",)),
    "aten.max_pool2d.default": Handler(_max_pool(2), "reduce_max", ("unfold",)),
    "aten.max_pool2d_with_indices.default": Handler(_max_pool(2), "reduce_max", ("unfold",)),
    "aten.avg_pool1d.default": Handler(_average_pool(1), "reduce_sum", ("unfold",)),
    "aten.avg_pool2d.default": Handler(_average_pool(2), "reduce_sum", ("unfold",)),
    "aten.adaptive_avg_pool1d.default": Handler(_adaptive, "reduce_sum", ("unfold",)),
    "aten.adaptive_avg_pool2d.default": Handler(_adaptive, "reduce_sum", ("unfold",)),
    "aten._adaptive_avg_pool2d.default": Handler(_adaptive, "reduce_sum", ("unfold",)),
}
