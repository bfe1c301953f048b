"""Handlers of our own PyTorch ops, most of which follow from the declaration of the op that they become."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch.fx import Node

from chimerac.compiler.ir.module import Attribute, Value
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.quantised import Kind
from chimerac.compiler.ir.types import f32
from chimerac.frontends.export.handler import Handle, Handler, Importer, reshape


def _custom(importer: Importer, node: Node, makes: str) -> Any:
    """An op of our own: tensors first, then its attributes in the order of their declaration."""
    definition = OPS[makes]
    tensors = len(definition.operands)
    attributes: dict[str, Attribute] = {}
    declared = [(name, kind) for name, kind in definition.attributes.items() if name not in definition.optional]
    for (name, kind), given in zip(declared, node.args[tensors:], strict=True):
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


def _gated_attention(importer: Importer, node: Node, makes: str) -> Any:
    """cached_attention with a share that weights must exceed."""
    *tensors, scale, window, share = node.args
    attributes: dict[str, Attribute] = {"scale": float(str(scale)), "window": int(str(window))}
    attributes["share"] = float(str(share))
    return importer.emit(makes, [importer.value(a) for a in tensors], attributes, node)


def _causal_attention(importer: Importer, node: Node, makes: str) -> Any:
    """Attention over a text, of which a call has a part: keys and values of the parts before are in a cache."""
    *tensors, scale, window, rows, slopes = node.args
    q, k, v = (_by_token(importer, importer.value(argument), node) for argument in tensors)
    states = [
        importer.carried(f"{side}_cache", f32(*x.type.shape[1:2], int(str(rows)), *x.type.shape[2:]))
        for side, x in (("key", k), ("value", v))
    ]
    attributes: dict[str, Attribute] = {"scale": float(str(scale)), "window": int(str(window))}
    if isinstance(slopes, list | tuple) and slopes:
        attributes["slopes"] = ",".join(map(str, slopes))
    operands = [q, k, v, *(value for _, value in states), importer.position()]
    y, *after = importer.emit(makes, operands, attributes, node)
    for (name, _), value in zip(states, after, strict=True):
        importer.carry(name, value)
    y = importer.emit("transpose", [y], {"perm": "1,0,2"}, node)
    return reshape(importer, y, importer.shape(node), node)


def _by_token(importer: Importer, x: Value, node: Node) -> Value:
    """[..., H, T, d] as [T, H, d]."""
    heads, (tokens, width) = math.prod(int(d) for d in x.type.shape[:-2]), x.type.shape[-2:]
    flat = reshape(importer, x, (heads, tokens, width), node)
    found: Value = importer.emit("transpose", [flat], {"perm": "1,0,2"}, node)
    return found


HANDLERS: Mapping[str, Handler] = {
    "chimera.ternary_codes_linear.default": Handler(_codes("trits"), "ternary_linear"),
    "chimera.int8_codes_linear.default": Handler(_codes("int8"), "int8_linear"),
    "chimera.ternary_codes_embedding.default": Handler(_codes("trits"), "ternary_embedding"),
    "chimera.int8_codes_embedding.default": Handler(_codes("int8"), "int8_embedding"),
    "chimera.gated_cached_attention.default": Handler(_gated_attention, "cached_attention"),
    "chimera.causal_attention.default": Handler(_causal_attention, "cached_attention", ("transpose", "reshape")),
    **{op.torch: Handler(_custom, op.name) for op in OPS.values() if op.torch is not None},
}
