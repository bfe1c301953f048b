"""Which PyTorch ops the importer takes, and what each becomes in the IR."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch.fx import Node

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Attribute, Value
from chimerac.compiler.ir.types import TOKENS


class Importer(Protocol):
    """What a handler may ask of the importer."""

    def value(self, argument: Any) -> Value: ...
    def emit(self, name: str, operands: list[Value], attributes: Mapping[str, Attribute], node: Node) -> Any: ...


Handler = Callable[[Any, Node], Any]


def _same(name: str, count: int) -> Handler:
    """An op with the same operands and no attributes."""

    def handle(importer: Importer, node: Node) -> Any:
        return importer.emit(name, [importer.value(a) for a in node.args[:count]], {}, node)

    return handle


def _arithmetic(name: str) -> Handler:
    """add and sub, whose alpha must be 1."""

    def handle(importer: Importer, node: Node) -> Any:
        if node.kwargs.get("alpha", 1) != 1:
            raise UserError("CHM211", f"{node.target} with alpha is not supported")
        return importer.emit(name, [importer.value(a) for a in node.args[:2]], {}, node)

    return handle


def _reversed_sub(importer: Importer, node: Node) -> Any:
    """``rsub(x, number)`` = number - x, what ``1 - x`` becomes."""
    if len(node.args) > 2 and node.args[2] != 1:
        raise UserError("CHM211", f"{node.target} with alpha is not supported")
    return importer.emit("sub", [importer.value(node.args[1]), importer.value(node.args[0])], {}, node)


def _identity(importer: Importer, node: Node) -> Any:
    return importer.value(node.args[0])


def _copy(importer: Importer, node: Node) -> Any:
    """``copy(destination, source)``: the value is the source's."""
    return importer.value(node.args[1])


def _reshape(importer: Importer, node: Node) -> Any:
    source = importer.value(node.args[0])
    shape = [d if isinstance(d, int) else TOKENS for d in node.meta["val"].shape] or [1]
    dims = ",".join(map(str, shape))
    if tuple(shape) == source.type.shape:
        return source
    return importer.emit("reshape", [source], {"shape": dims}, node)


def _softplus(importer: Importer, node: Node) -> Any:
    if tuple(node.args[1:]) not in ((), (1,), (1.0,), (1, 20), (1.0, 20.0)):
        raise UserError("CHM211", "softplus is supported with beta 1 and threshold 20 only")
    return importer.emit("softplus", [importer.value(node.args[0])], {}, node)


def _gelu(importer: Importer, node: Node) -> Any:
    if node.kwargs.get("approximate", "none") != "none":
        raise UserError("CHM211", "gelu is supported in its exact form only, approximate='none'")
    return importer.emit("gelu", [importer.value(node.args[0])], {}, node)


def _last_axis(value: Value, axis: object, what: str) -> int:
    """The extent of the last axis, which ``axis`` must be."""
    rank = len(value.type.shape)
    if not isinstance(axis, int) or rank == 0 or axis % rank != rank - 1 or value.type.shape[-1] == TOKENS:
        raise UserError("CHM211", f"{what} supported along a last axis of fixed size only")
    return int(value.type.shape[-1])


def _token_count(importer: Importer, node: Node) -> Any:
    """``x.shape[0]`` where it is T: reshapes know their own shape, nothing else can use it."""
    return TOKENS


def _slice(importer: Importer, node: Node) -> Any:
    source = importer.value(node.args[0])
    given: list[Any] = [*node.args[1:], *(0, None, None, 1)[len(node.args) - 1 :]]
    axis, start, stop, step = given
    last = _last_axis(source, axis, "slices are")
    if step != 1 or not all(isinstance(bound, int | None) for bound in (start, stop)):
        raise UserError("CHM211", "slices are supported with fixed bounds and step 1 only")
    begin, end, _ = slice(start, stop).indices(last)
    if (begin, end) == (0, last):
        return source
    return importer.emit("slice", [source], {"start": begin, "stop": end}, node)


def _concat(importer: Importer, node: Node) -> Any:
    parts = node.args[0]
    assert isinstance(parts, list | tuple)
    values = [importer.value(part) for part in parts]
    for value in values:
        _last_axis(value, node.args[1] if len(node.args) > 1 else 0, "cat is")
    return importer.emit("concat", values, {}, node)


def _split(importer: Importer, node: Node) -> Any:
    source = importer.value(node.args[0])
    last = _last_axis(source, node.args[2] if len(node.args) > 2 else 0, "split is")
    size = node.args[1]
    sizes = list(size) if isinstance(size, list | tuple) else [int(str(size))] * -(-last // int(str(size)))
    results, start = [], 0
    for width in sizes:
        stop = min(start + int(str(width)), last)
        results.append(importer.emit("slice", [source], {"start": start, "stop": stop}, node))
        start = stop
    return tuple(results)


def _embedding(importer: Importer, node: Node) -> Any:
    table, ids = (importer.value(a) for a in node.args[:2])
    return importer.emit("embedding", [ids, table], {}, node)


def _linear(importer: Importer, node: Node) -> Any:
    operands = [importer.value(a) for a in node.args if a is not None]
    return importer.emit("linear", operands, {}, node)


def _chimera(name: str, tensors: int, *attributes: str) -> Handler:
    """A custom op of the ``chimera`` namespace: tensors first, then numbers in the order of ``attributes``."""

    def handle(importer: Importer, node: Node) -> Any:
        operands = [importer.value(a) for a in node.args[:tensors]]
        numbers = node.args[tensors:]
        named: dict[str, Attribute] = {}
        for key, number in zip(attributes, numbers, strict=True):
            assert isinstance(number, int | float)
            named[key] = number if key in INTEGERS else float(number)
        return importer.emit(name, operands, named, node)

    return handle


INTEGERS = frozenset({"group", "block", "window", "chunk", "top_k"})

HANDLERS: Mapping[str, Handler] = {
    "aten.add.Tensor": _arithmetic("add"),
    "aten.add.Scalar": _arithmetic("add"),
    "aten.sub.Tensor": _arithmetic("sub"),
    "aten.sub.Scalar": _arithmetic("sub"),
    "aten.rsub.Scalar": _reversed_sub,
    "aten.mul.Tensor": _same("mul", 2),
    "aten.mul.Scalar": _same("mul", 2),
    "aten.div.Tensor": _same("div", 2),
    "aten.div.Scalar": _same("div", 2),
    "aten.maximum.default": _same("maximum", 2),
    "aten.minimum.default": _same("minimum", 2),
    "aten.clamp_min.default": _same("maximum", 2),
    "aten.neg.default": _same("neg", 1),
    "aten.abs.default": _same("abs", 1),
    "aten.sqrt.default": _same("sqrt", 1),
    "aten.exp.default": _same("exp", 1),
    "aten.log.default": _same("log", 1),
    "aten.tanh.default": _same("tanh", 1),
    "aten.sigmoid.default": _same("sigmoid", 1),
    "aten.silu.default": _same("silu", 1),
    "aten.softplus.default": _softplus,
    "aten.gelu.default": _gelu,
    "aten.sym_size.int": _token_count,
    "aten.view.default": _reshape,
    "aten.reshape.default": _reshape,
    "aten.unsqueeze.default": _reshape,
    "aten.squeeze.dim": _reshape,
    "aten._unsafe_view.default": _reshape,
    "aten.slice.Tensor": _slice,
    "aten.cat.default": _concat,
    "aten.split.Tensor": _split,
    "aten.split_with_sizes.default": _split,
    "aten.alias.default": _identity,
    "aten.detach.default": _identity,
    "aten.clone.default": _identity,
    "aten.contiguous.default": _identity,
    "aten.copy.default": _copy,
    "aten.zeros_like.default": _same("zero", 1),
    "aten.embedding.default": _embedding,
    "aten.linear.default": _linear,
    "chimera.rms_norm.default": _chimera("rms_norm", 2, "eps"),
    "chimera.l2_norm.default": _chimera("l2_norm", 1, "eps"),
    "chimera.ternary_linear.default": _chimera("ternary_linear", 2, "group", "block"),
    "chimera.int8_linear.default": _chimera("int8_linear", 2, "group", "block"),
    "chimera.int8_embedding.default": _chimera("int8_embedding", 2, "group"),
    "chimera.ternary_embedding.default": _chimera("ternary_embedding", 2, "group"),
    "chimera.bfloat16_linear.default": _chimera("bfloat16_linear", 2),
    "chimera.bfloat16_embedding.default": _chimera("bfloat16_embedding", 2),
    "chimera.causal_conv.default": _chimera("causal_conv", 3),
    "chimera.gated_delta.default": _chimera("gated_delta", 6, "scale"),
    "chimera.mlstm.default": _chimera("mlstm", 8, "scale"),
    "chimera.rope.default": _chimera("rope", 2, "theta"),
    "chimera.window_attention.default": _chimera("window_attention", 10, "window", "scale"),
    "chimera.titans_anchor.default": _chimera("titans_anchor", 4, "chunk"),
    "chimera.titans_apply.default": _chimera("titans_apply", 2),
    "chimera.titans_update.default": _chimera("titans_update", 9),
    "chimera.moe.default": _chimera("moe", 7, "top_k", "group", "block", "eps"),
}
