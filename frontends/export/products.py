"""Handlers of PyTorch ops that multiply matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.fx import Node

from chimerac.frontends.export.handler import Handler, Importer


def _linear(importer: Importer, node: Node, makes: str) -> Any:
    operands = [importer.value(a) for a in node.args if a is not None]
    return importer.emit(makes, operands, {}, node)


HANDLERS: Mapping[str, Handler] = {
    "aten.linear.default": Handler(_linear, "linear"),
}
