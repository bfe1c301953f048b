"""Handlers of the ops that other packages register (compiler/ir/custom.py)."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.custom import CUSTOM, CustomOp, attribute_of, custom_target
from chimerac.compiler.ir.module import Attribute, Value
from chimerac.compiler.ir.types import TensorType
from chimerac.frontends.export.handler import Handler, Importer, element


def own_handler(target: str) -> Handler | None:
    """The handler of a PyTorch op, as PyTorch prints it, that somebody registered."""
    op = custom_target(target)
    return None if op is None else Handler(_own, op.name)


def _own(importer: Importer, node: Node, makes: str) -> Any:
    """The op: its tensors are operands, the other arguments of its signature attributes."""
    op = CUSTOM[makes]
    given = _arguments(node)
    tensors = tuple(name for name, value in given.items() if isinstance(value, Node | torch.Tensor))
    others = tuple(name for name in given if name not in tensors)
    if tensors != op.operands or others != tuple(op.attributes):
        declared = f"{', '.join((*op.operands, *op.attributes)) or 'nothing'}"
        message = (
            f"op {op.torch} is declared with {declared}; the call gives the tensors {', '.join(tensors) or 'none'}"
        )
        rest = f" and the numbers {', '.join(others)}" if others else ""
        raise UserError("CHM306", message + rest)
    attributes: dict[str, Attribute] = {name: attribute_of(op, name, given[name]) for name in others}
    made = importer.emit(makes, [importer.value(given[name]) for name in tensors], attributes, node)
    _check_types(importer, node, op, made if isinstance(made, tuple) else (made,))
    return made


def _arguments(node: Node) -> dict[str, Any]:
    """The arguments of a call by name, those that are left out as the signature has them."""
    assert isinstance(node.target, torch._ops.OpOverload)
    found = {}
    for place, argument in enumerate(node.target._schema.arguments):
        if place < len(node.args):
            found[argument.name] = node.args[place]
        else:
            found[argument.name] = node.kwargs.get(argument.name, argument.default_value)
    return found


def _check_types(importer: Importer, node: Node, op: CustomOp, made: tuple[Value, ...]) -> None:
    """The type rule must give what PyTorch gives."""
    held = node.meta["val"]
    tensors = held if isinstance(held, tuple | list) else (held,)
    expected = []
    for tensor in tensors:
        kind = element(tensor.dtype)
        expected.append(TensorType(kind, importer.dims(tensor, node) or ((1,) if kind == "f32" else ())))
    found = [value.type for value in made]
    if found != expected:
        rule, wanted = (", ".join(map(str, types)) for types in (found, expected))
        raise UserError("CHM306", f"op {op.torch}: its type rule gives {rule}, PyTorch {wanted}")
