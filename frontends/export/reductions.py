"""Handlers of PyTorch ops that reduce axes, or work along one: sums, maxima, softmax, norms, orders."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch.fx import Node

from chimerac.compiler.ir.module import Value
from chimerac.compiler.ir.types import TOKENS
from chimerac.frontends.export.handler import (
    Handle,
    Handler,
    Importer,
    argument,
    operands,
    reshape,
    result_type,
    truth,
    unsupported,
)
from chimerac.frontends.export.movement import axis_of, cut, transpose

#: Given a value whose last axis is to be reduced: the value with one element there.
Reduce = Callable[[Value], Value]


def _axes(node: Node, given: Any) -> list[int]:
    """Dimensions that are reduced: all where none is named."""
    first = node.args[0]
    assert isinstance(first, Node)
    rank = len(first.meta["val"].shape)
    if given is None or given == []:
        return list(range(rank))
    return sorted(axis_of(node, d) for d in (given if isinstance(given, list | tuple) else [given]))


def along(importer: Importer, value: Value, axes: Sequence[int], node: Node) -> Value:
    """The axes at the end, as one; CHM211 where the tokens are among them."""
    shape = value.type.shape
    if any(shape[axis] == TOKENS for axis in axes):
        raise unsupported(node, "over the tokens of a call is not supported: a call has any number of those of a text")
    kept = [i for i in range(len(shape)) if i not in axes]
    moved = transpose(importer, value, [*kept, *axes], node)
    together = math.prod(int(shape[axis]) for axis in axes)
    return reshape(importer, moved, [*(shape[i] for i in kept), together], node)


def reduced(importer: Importer, value: Value, axes: Sequence[int], node: Node, reduce: Reduce) -> Value:
    """A reduction of some axes, in the shape that PyTorch gives it."""
    if not value.type.shape or (value.type.shape == (1,) and not axes):
        value, axes = reshape(importer, value, (1,), node), [0]
    result = reduce(along(importer, value, axes, node))
    shape = node.meta["val"][0] if isinstance(node.meta["val"], tuple | list) else node.meta["val"]
    dims = importer.dims(shape, node)
    return reshape(importer, result, dims, node)


def _simple(name: str, axes_place: int = 1) -> Handle:
    """One op of the IR in the type of the result."""

    def handle(importer: Importer, node: Node, makes: str) -> Any:
        (value,) = operands(importer, node, node.args[:1], result_type(node))
        axes = _axes(node, argument(node, axes_place, "dim"))
        return reduced(importer, value, axes, node, lambda x: importer.emit(name, [x], {}, node))

    return handle


def _logical(name: str) -> Handle:
    """``any`` and ``all``: the largest or smallest truth value."""

    def handle(importer: Importer, node: Node, makes: str) -> Any:
        value = truth(importer, importer.value(node.args[0], "i32"), node)
        axes = _axes(node, argument(node, 1, "dim"))
        return reduced(importer, value, axes, node, lambda x: importer.emit(name, [x], {}, node))

    return handle


def _mean(importer: Importer, node: Node, makes: str) -> Any:
    (value,) = operands(importer, node, node.args[:1], "f32")
    axes = _axes(node, argument(node, 1, "dim"))
    return reduced(importer, value, axes, node, lambda x: mean(importer, x, node))


def mean(importer: Importer, value: Value, node: Node, lost: float = 0) -> Value:
    """The mean of the last axis; ``lost`` fewer are counted than there are."""
    total = importer.emit("reduce_sum", [value], {}, node)
    count = importer.value(float(int(str(value.type.shape[-1])) - lost))
    found: Value = importer.emit("div", [total, count], {}, node)
    return found


def _variance(importer: Importer, node: Node, makes: str) -> Any:
    (value,) = operands(importer, node, node.args[:1], "f32")
    correction = argument(node, 2, "correction", 1)
    axes = _axes(node, argument(node, 1, "dim"))

    def variance(x: Value) -> Value:
        moved = importer.emit("sub", [x, mean(importer, x, node)], {}, node)
        return mean(
            importer, importer.emit("mul", [moved, moved], {}, node), node, 1 if correction is None else correction
        )

    return reduced(importer, value, axes, node, variance)


def _length(importer: Importer, node: Node, makes: str) -> Any:
    """``linalg_vector_norm``."""
    order = argument(node, 1, "ord", 2)
    (value,) = operands(importer, node, node.args[:1], "f32")
    axes = _axes(node, argument(node, 2, "dim"))

    def emit(name: str, *values: Value) -> Value:
        found: Value = importer.emit(name, values, {}, node)
        return found

    forms: Mapping[float, Reduce] = {
        2: lambda x: emit("sqrt", emit("reduce_sum", emit("mul", x, x))),
        1: lambda x: emit("reduce_sum", emit("abs", x)),
        math.inf: lambda x: emit("reduce_max", emit("abs", x)),
    }
    if order not in forms:
        raise unsupported(node, "is supported of the orders 1, 2 and infinity only")
    return reduced(importer, value, axes, node, forms[order])


def _place(name: str) -> Handle:
    def handle(importer: Importer, node: Node, makes: str) -> Any:
        value = importer.value(node.args[0])
        axes = _axes(node, argument(node, 1, "dim"))
        return reduced(importer, value, axes, node, lambda x: importer.emit(name, [x], {}, node))

    return handle


def _one(importer: Importer, node: Node, name: str, value: Value) -> Value:
    found: Value = importer.emit(name, [value], {}, node)
    return found


def _extreme(name: str, place: str) -> Handle:
    """``max`` and ``min`` along a dimension: the values and where they are."""

    def handle(importer: Importer, node: Node, makes: str) -> Any:
        value = importer.value(node.args[0])
        axes = _axes(node, argument(node, 1, "dim"))
        return tuple(reduced(importer, value, axes, node, partial(_one, importer, node, op)) for op in (name, place))

    return handle


def at_end(importer: Importer, value: Value, axis: int, node: Node, make: Callable[[Value], Any]) -> Any:
    """What an op along the last axis makes along any axis: of its result, or of each of its results."""
    rank = len(value.type.shape)
    order = [*(i for i in range(rank) if i != axis), axis]
    back = [order.index(i) for i in range(rank)]
    if value.type.shape[axis] == TOKENS:
        raise unsupported(node, "along the tokens of a call is not supported: a call may begin and end anywhere")
    made = make(transpose(importer, value, order, node))
    if isinstance(made, tuple):
        return tuple(transpose(importer, part, back, node) for part in made)
    return transpose(importer, made, back, node)


def _along(importer: Importer, node: Node, makes: str) -> Any:
    """softmax and running sums."""
    (value,) = operands(importer, node, node.args[:1], result_type(node))
    axis = axis_of(node, argument(node, 1, "dim"))
    return at_end(importer, value, axis, node, lambda x: importer.emit(makes, [x], {}, node))


def _sort(importer: Importer, node: Node, makes: str) -> Any:
    value = importer.value(node.args[0])
    stable = str(node.target).endswith("stable")
    axis = axis_of(node, argument(node, 2 if stable else 1, "dim", -1))
    descending = bool(argument(node, 3 if stable else 2, "descending", False))
    return _ordered(importer, value, axis, node, descending=descending)


def _ordered(importer: Importer, value: Value, axis: int, node: Node, *, descending: bool) -> Any:
    attributes = {"descending": int(descending)}
    return at_end(importer, value, axis, node, lambda x: importer.emit("sort", [x], attributes, node))


def _top(importer: Importer, node: Node, makes: str) -> Any:
    value, count = importer.value(node.args[0]), int(str(node.args[1]))
    axis = axis_of(node, argument(node, 2, "dim", -1))
    descending = bool(argument(node, 3, "largest", True))
    return tuple(
        cut(importer, part, axis, 0, count, node)
        for part in _ordered(importer, value, axis, node, descending=descending)
    )


def _layer_norm(importer: Importer, node: Node, makes: str) -> Any:
    value, shape = importer.value(node.args[0]), argument(node, 1, "normalized_shape")
    weight, bias = (argument(node, i, n) for i, n in ((2, "weight"), (3, "bias")))
    eps = float(argument(node, 4, "eps", 1e-5))
    rank = len(value.type.shape)
    flat = along(importer, value, range(rank - len(shape), rank), node)
    width = flat.type.shape[-1:]
    if weight is None and bias is not None:
        raise unsupported(node, "with a bias and no weight is not supported")
    affine = [importer.value(operand) for operand in (weight, bias) if operand is not None]
    given = [flat, *(reshape(importer, operand, width, node) for operand in affine)]
    made = importer.emit(makes, given, {"eps": eps}, node)
    return reshape(importer, made, value.type.shape, node)


def _native_layer_norm(importer: Importer, node: Node, makes: str) -> Any:
    return (_layer_norm(importer, node, makes), None, None)


def _group_norm(importer: Importer, node: Node, makes: str) -> Any:
    weight, bias = (argument(node, i, n) for i, n in ((2, "weight"), (3, "bias")))
    groups, eps = int(str(node.args[1])), float(argument(node, 4, "eps", 1e-5))
    made = _in_groups(importer, importer.value(node.args[0]), groups, eps, node)
    return by_channel(importer, made, weight, bias, node)


def _instance_norm(importer: Importer, node: Node, makes: str) -> Any:
    """Each channel by itself; with running statistics a batch norm."""
    x, weight, bias, *_ = node.args
    if not node.args[5]:
        return _batch_norm(7)(importer, node, makes)
    value = importer.value(x)
    channels = _fixed(value.type.shape[1], node)
    made = _in_groups(importer, value, channels, float(str(node.args[7])), node)
    return by_channel(importer, made, weight, bias, node)


def _in_groups(importer: Importer, value: Value, groups: int, eps: float, node: Node) -> Value:
    """x [N, C, …] in groups of channels, each normalised."""
    shape = value.type.shape
    channels, *rest = (_fixed(d, node) for d in shape[1:])
    apart = (shape[0], groups, channels // groups * math.prod(rest))
    made = importer.emit("layer_norm", [reshape(importer, value, apart, node)], {"eps": eps}, node)
    return reshape(importer, made, shape, node)


def _fixed(dim: object, node: Node) -> int:
    if not isinstance(dim, int):
        raise unsupported(node, "along the tokens of a call is not supported")
    return dim


def by_channel(importer: Importer, value: Value, weight: Any, bias: Any, node: Node) -> Value:
    """A value [N, C, …] times a weight [C], plus a bias [C]."""
    behind = (1,) * (len(value.type.shape) - 2)
    for operand, name in ((weight, "mul"), (bias, "add")):
        if operand is not None:
            held = importer.value(operand)
            factor = reshape(importer, held, (*held.type.shape, *behind), node)
            value = importer.emit(name, [value, factor], {}, node)
    return value


def _batch_norm(eps_place: int) -> Handle:
    """In eval mode: (x - mean) / sqrt(variance + eps), by channel, as one product and one sum."""

    def handle(importer: Importer, node: Node, makes: str) -> Any:
        x, weight, bias, average, variance = node.args[:5]
        if average is None or variance is None or (eps_place == 7 and node.args[5]):
            raise unsupported(node, "is supported in eval mode with running statistics only")

        def emit(name: str, *values: Value) -> Value:
            found: Value = importer.emit(name, values, {}, node)
            return found

        eps = importer.value(float(str(node.args[eps_place])))
        scale = emit("rsqrt", emit("add", importer.value(variance), eps))
        scale = scale if weight is None else emit("mul", scale, importer.value(weight))
        shift = emit("neg", emit("mul", importer.value(average), scale))
        shift = shift if bias is None else emit("add", shift, importer.value(bias))
        behind = (1,) * (len(importer.shape_of(x)) - 2)
        value = importer.value(x)
        for operand, name in ((scale, "mul"), (shift, "add")):
            value = emit(name, value, reshape(importer, operand, (*operand.type.shape, *behind), node))
        return value if eps_place == 7 else (value, None, None)

    return handle


def _forms(name: str, handler: Handler, *forms: str) -> dict[str, Handler]:
    return {f"aten.{name}.{form}": handler for form in forms}


HANDLERS: Mapping[str, Handler] = {
    **_forms("sum", Handler(_simple("reduce_sum"), "reduce_sum"), "default", "dim_IntList"),
    **_forms("mean", Handler(_mean, "reduce_sum", ("div",)), "default", "dim"),
    **_forms("var", Handler(_variance, "reduce_sum", ("div",)), "correction"),
    **_forms("linalg_vector_norm", Handler(_length, "reduce_sum", ("reduce_max",)), "default"),
    **_forms("amax", Handler(_simple("reduce_max"), "reduce_max"), "default"),
    **_forms("amin", Handler(_simple("reduce_min"), "reduce_min"), "default"),
    **_forms("max", Handler(_simple("reduce_max", 9), "reduce_max"), "default"),
    **_forms("min", Handler(_simple("reduce_min", 9), "reduce_min"), "default"),
    **_forms("max", Handler(_extreme("reduce_max", "argmax"), "reduce_max", ("argmax",)), "dim"),
    **_forms("min", Handler(_extreme("reduce_min", "argmin"), "reduce_min", ("argmin",)), "dim"),
    **_forms("prod", Handler(_simple("reduce_prod"), "reduce_prod"), "default", "dim_int"),
    **_forms("argmax", Handler(_place("argmax"), "argmax"), "default"),
    **_forms("argmin", Handler(_place("argmin"), "argmin"), "default"),
    **_forms("any", Handler(_logical("reduce_max"), "reduce_max"), "default", "dim", "dims"),
    **_forms("all", Handler(_logical("reduce_min"), "reduce_min"), "default", "dim", "dims"),
    "aten.cumsum.default": Handler(_along, "cumsum"),
    **_forms("softmax", Handler(_along, "softmax"), "int"),
    **_forms("_softmax", Handler(_along, "softmax"), "default"),
    **_forms("log_softmax", Handler(_along, "log_softmax"), "int"),
    **_forms("_log_softmax", Handler(_along, "log_softmax"), "default"),
    **_forms("sort", Handler(_sort, "sort"), "default", "stable"),
    **_forms("topk", Handler(_top, "sort"), "default"),
    "aten.layer_norm.default": Handler(_layer_norm, "layer_norm"),
    "aten.native_layer_norm.default": Handler(_native_layer_norm, "layer_norm"),
    "aten.group_norm.default": Handler(_group_norm, "layer_norm"),
    "aten.instance_norm.default": Handler(_instance_norm, "layer_norm"),
    "aten.batch_norm.default": Handler(_batch_norm(7), "", ("rsqrt", "mul", "add")),
    "aten._native_batch_norm_legit_no_training.default": Handler(_batch_norm(6), "", ("rsqrt", "mul", "add")),
}
