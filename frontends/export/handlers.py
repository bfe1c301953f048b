"""Which PyTorch ops the importer takes, and what each becomes in the IR."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch.fx import Node

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Attribute, Value
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.quantised import Kind
from chimerac.compiler.ir.types import TOKENS


class Importer(Protocol):
    """What a handler may ask of the importer."""

    def value(self, argument: Any) -> Value: ...
    def emit(self, name: str, operands: list[Value], attributes: Mapping[str, Attribute], node: Node) -> Any: ...
    def integers(self, codes: Any, scales: Any, kind: Kind, group: int) -> Value: ...


#: Given the importer, the node and the op of the IR that it becomes: the value or values of the node.
Handle = Callable[[Importer, Node, str], Any]


@dataclass(frozen=True)
class Handler:
    """What one PyTorch op becomes.

    Attributes:
        handle: makes it.
        makes: name of the op of the IR; empty if it becomes none.
    """

    handle: Handle
    makes: str = ""


def _same(importer: Importer, node: Node, makes: str) -> Any:
    """The same operands and no attributes."""
    count = len(OPS[makes].operands)
    return importer.emit(makes, [importer.value(a) for a in node.args[:count]], {}, node)


def _arithmetic(importer: Importer, node: Node, makes: str) -> Any:
    """add and sub, whose alpha must be 1."""
    if node.kwargs.get("alpha", 1) != 1:
        raise UserError("CHM211", f"{node.target} with alpha is not supported")
    return _same(importer, node, makes)


def _reversed_sub(importer: Importer, node: Node, makes: str) -> Any:
    """``rsub(x, number)`` = number - x, what ``1 - x`` becomes."""
    if len(node.args) > 2 and node.args[2] != 1:
        raise UserError("CHM211", f"{node.target} with alpha is not supported")
    return importer.emit(makes, [importer.value(node.args[1]), importer.value(node.args[0])], {}, node)


def _identity(importer: Importer, node: Node, makes: str) -> Any:
    return importer.value(node.args[0])


def _copy(importer: Importer, node: Node, makes: str) -> Any:
    """``copy(destination, source)``: the value is the source's."""
    return importer.value(node.args[1])


def _reshape(importer: Importer, node: Node, makes: str) -> Any:
    source = importer.value(node.args[0])
    shape = [d if isinstance(d, int) else TOKENS for d in node.meta["val"].shape] or [1]
    dims = ",".join(map(str, shape))
    if tuple(shape) == source.type.shape:
        return source
    return importer.emit(makes, [source], {"shape": dims}, node)


def _softplus(importer: Importer, node: Node, makes: str) -> Any:
    if tuple(node.args[1:]) not in ((), (1,), (1.0,), (1, 20), (1.0, 20.0)):
        raise UserError("CHM211", "softplus is supported with beta 1 and threshold 20 only")
    return _same(importer, node, makes)


def _gelu(importer: Importer, node: Node, makes: str) -> Any:
    if node.kwargs.get("approximate", "none") != "none":
        raise UserError("CHM211", "gelu is supported in its exact form only, approximate='none'")
    return _same(importer, node, makes)


def _last_axis(value: Value, axis: object, what: str) -> int:
    """The extent of the last axis, which ``axis`` must be."""
    rank = len(value.type.shape)
    if not isinstance(axis, int) or rank == 0 or axis % rank != rank - 1 or value.type.shape[-1] == TOKENS:
        raise UserError("CHM211", f"{what} supported along a last axis of fixed size only")
    return int(value.type.shape[-1])


def _token_count(importer: Importer, node: Node, makes: str) -> Any:
    """``x.shape[0]`` where it is T: reshapes know their own shape, nothing else can use it."""
    return TOKENS


def _slice(importer: Importer, node: Node, makes: str) -> Any:
    source = importer.value(node.args[0])
    given: list[Any] = [*node.args[1:], *(0, None, None, 1)[len(node.args) - 1 :]]
    axis, start, stop, step = given
    last = _last_axis(source, axis, "slices are")
    if step != 1 or not all(isinstance(bound, int | None) for bound in (start, stop)):
        raise UserError("CHM211", "slices are supported with fixed bounds and step 1 only")
    begin, end, _ = slice(start, stop).indices(last)
    if (begin, end) == (0, last):
        return source
    return importer.emit(makes, [source], {"start": begin, "stop": end}, node)


def _concat(importer: Importer, node: Node, makes: str) -> Any:
    parts = node.args[0]
    assert isinstance(parts, list | tuple)
    values = [importer.value(part) for part in parts]
    for value in values:
        _last_axis(value, node.args[1] if len(node.args) > 1 else 0, "cat is")
    return importer.emit(makes, values, {}, node)


def _split(importer: Importer, node: Node, makes: str) -> Any:
    source = importer.value(node.args[0])
    last = _last_axis(source, node.args[2] if len(node.args) > 2 else 0, "split is")
    size = node.args[1]
    sizes = list(size) if isinstance(size, list | tuple) else [int(str(size))] * -(-last // int(str(size)))
    results, start = [], 0
    for width in sizes:
        stop = min(start + int(str(width)), last)
        results.append(importer.emit(makes, [source], {"start": start, "stop": stop}, node))
        start = stop
    return tuple(results)


def _embedding(importer: Importer, node: Node, makes: str) -> Any:
    table, ids = (importer.value(a) for a in node.args[:2])
    return importer.emit(makes, [ids, table], {}, node)


def _linear(importer: Importer, node: Node, makes: str) -> Any:
    operands = [importer.value(a) for a in node.args if a is not None]
    return importer.emit(makes, operands, {}, node)


def _custom(importer: Importer, node: Node, makes: str) -> Any:
    """An op of our own: tensors first, then its attributes in the order of their declaration."""
    definition = OPS[makes]
    tensors = len(definition.operands)
    attributes: dict[str, Attribute] = {}
    for (name, kind), given in zip(definition.attributes.items(), node.args[tensors:], strict=True):
        assert isinstance(given, int | float | str)
        attributes[name] = kind(given)
    return importer.emit(makes, [importer.value(a) for a in node.args[:tensors]], attributes, node)


def _codes(kind: Kind) -> Handle:
    """A custom op over a weight that is given as codes and scales: the op of the same meaning over its value, which
    quantized_linear takes as the integers that it is."""

    def handle(importer: Importer, node: Node, makes: str) -> Any:
        x, codes, scales, *numbers = node.args
        attributes = {name: int(str(given)) for name, given in zip(OPS[makes].attributes, numbers, strict=True)}
        weight = importer.integers(codes, scales, kind, attributes["group"])
        return importer.emit(makes, [importer.value(x), weight], attributes, node)

    return handle


#: PyTorch op, as PyTorch prints it → what it becomes.
HANDLERS: Mapping[str, Handler] = {
    "aten.add.Tensor": Handler(_arithmetic, "add"),
    "aten.add.Scalar": Handler(_arithmetic, "add"),
    "aten.sub.Tensor": Handler(_arithmetic, "sub"),
    "aten.sub.Scalar": Handler(_arithmetic, "sub"),
    "aten.rsub.Scalar": Handler(_reversed_sub, "sub"),
    "aten.mul.Tensor": Handler(_same, "mul"),
    "aten.mul.Scalar": Handler(_same, "mul"),
    "aten.div.Tensor": Handler(_same, "div"),
    "aten.div.Scalar": Handler(_same, "div"),
    "aten.maximum.default": Handler(_same, "maximum"),
    "aten.minimum.default": Handler(_same, "minimum"),
    "aten.clamp_min.default": Handler(_same, "maximum"),
    "aten.neg.default": Handler(_same, "neg"),
    "aten.abs.default": Handler(_same, "abs"),
    "aten.sqrt.default": Handler(_same, "sqrt"),
    "aten.exp.default": Handler(_same, "exp"),
    "aten.log.default": Handler(_same, "log"),
    "aten.tanh.default": Handler(_same, "tanh"),
    "aten.sigmoid.default": Handler(_same, "sigmoid"),
    "aten.silu.default": Handler(_same, "silu"),
    "aten.softplus.default": Handler(_softplus, "softplus"),
    "aten.gelu.default": Handler(_gelu, "gelu"),
    "aten.sym_size.int": Handler(_token_count),
    "aten.view.default": Handler(_reshape, "reshape"),
    "aten.reshape.default": Handler(_reshape, "reshape"),
    "aten.unsqueeze.default": Handler(_reshape, "reshape"),
    "aten.squeeze.dim": Handler(_reshape, "reshape"),
    "aten._unsafe_view.default": Handler(_reshape, "reshape"),
    "aten.slice.Tensor": Handler(_slice, "slice"),
    "aten.cat.default": Handler(_concat, "concat"),
    "aten.split.Tensor": Handler(_split, "slice"),
    "aten.split_with_sizes.default": Handler(_split, "slice"),
    "aten.alias.default": Handler(_identity),
    "aten.detach.default": Handler(_identity),
    "aten.clone.default": Handler(_identity),
    "aten.contiguous.default": Handler(_identity),
    "aten.copy.default": Handler(_copy),
    "aten.zeros_like.default": Handler(_same, "zero"),
    "aten.embedding.default": Handler(_embedding, "embedding"),
    "aten.linear.default": Handler(_linear, "linear"),
    "chimera.ternary_codes_linear.default": Handler(_codes("trits"), "ternary_linear"),
    "chimera.int8_codes_linear.default": Handler(_codes("int8"), "int8_linear"),
    "chimera.ternary_codes_embedding.default": Handler(_codes("trits"), "ternary_embedding"),
    "chimera.int8_codes_embedding.default": Handler(_codes("int8"), "int8_embedding"),
    **{op.torch: Handler(_custom, op.name) for op in OPS.values() if op.torch is not None},
}
