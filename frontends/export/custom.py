"""Handlers of our own PyTorch ops, most of which follow from the declaration of the op that they become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.fx import Node

from chimerac.compiler.ir.module import Attribute
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.quantised import Kind
from chimerac.frontends.export.handler import Handle, Handler, Importer


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


HANDLERS: Mapping[str, Handler] = {
    "chimera.ternary_codes_linear.default": Handler(_codes("trits"), "ternary_linear"),
    "chimera.int8_codes_linear.default": Handler(_codes("int8"), "int8_linear"),
    "chimera.ternary_codes_embedding.default": Handler(_codes("trits"), "ternary_embedding"),
    "chimera.int8_codes_embedding.default": Handler(_codes("int8"), "int8_embedding"),
    **{op.torch: Handler(_custom, op.name) for op in OPS.values() if op.torch is not None},
}
