"""Handlers of PyTorch ops that leave their operand as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.fx import Node

from chimerac.frontends.export.handler import Handler, Importer, argument, identity, unsupported


def _dropout(importer: Importer, node: Node, makes: str) -> Any:
    """Nothing, where it drops nothing."""
    if argument(node, 2, "train", True) and argument(node, 1, "p", 0.5):
        raise unsupported(node, "draws numbers: it is asked to drop, whatever mode the module is in")
    return identity(importer, node, makes)


HANDLERS: Mapping[str, Handler] = {
    "aten.alias.default": Handler(identity),
    "aten.detach.default": Handler(identity),
    "aten.detach_.default": Handler(identity),
    "aten.lift_fresh_copy.default": Handler(identity),
    "aten.clone.default": Handler(identity),
    "aten.contiguous.default": Handler(identity),
    "aten.dropout.default": Handler(_dropout),
    "aten.copy.default": Handler(lambda importer, node, makes: importer.value(node.args[1])),
}
