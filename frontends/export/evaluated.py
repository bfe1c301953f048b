"""Nodes of an exported graph that no input decides, computed by PyTorch: masks, places, tables of numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch.export.graph_signature import InputKind
from torch.fx import Node
from torch.utils import _pytree as pytree

#: Ops that ask a tensor for its size and type only.
_SIZES_ONLY = frozenset(
    f"aten.{name}" for name in ("sym_size", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full")
)


class Evaluated:
    """What nodes are for a text of some tokens, where they are free: where they depend on its length only.

    Args:
        program: its graph.
        changed: buffers that forward changes, which are not free.
        given: inputs with a value, by the name of their node, which are free.
    """

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        changed: Collection[str],
        given: Mapping[str, torch.Tensor] = MappingProxyType({}),
    ) -> None:
        self._tensors: dict[str, torch.Tensor] = dict(given)
        for spec in program.graph_signature.input_specs:
            if spec.kind != InputKind.USER_INPUT and spec.target not in changed:
                held = program.state_dict.get(str(spec.target))
                found = held if held is not None else program.constants.get(str(spec.target))
                if isinstance(found, torch.Tensor):
                    self._tensors[spec.arg.name] = found
        self._free: set[Node] = set()
        for node in program.graph.nodes:
            held = node.meta.get("val")  # a list is of tensors
            number = not isinstance(held, torch.Tensor | list | tuple)
            sizes = number or str(node.target).rpartition(".")[0] in _SIZES_ONLY
            known = node.op == "placeholder" and node.name in self._tensors
            if known or (node.op == "call_function" and (sizes or self._free.issuperset(node.all_input_nodes))):
                self._free.add(node)

    def is_free(self, argument: Any) -> bool:
        """Whether an argument is a number, or a node that no input decides."""
        return not isinstance(argument, Node) or argument in self._free

    def of(self, argument: Any, tokens: int = 2) -> Any:
        """A free argument for a text of so many tokens."""
        return self._value(argument, tokens, {})

    def extents(self, node: Node, tokens: int) -> list[int]:
        """The shape of a node's tensor for a text of so many tokens."""
        return [int(_number(extent, tokens)) for extent in node.meta["val"].shape]

    def _value(self, argument: Any, tokens: int, known: dict[Node, Any]) -> Any:
        if not isinstance(argument, Node):
            return argument
        if argument in known:
            return known[argument]
        held: Any = argument.meta.get("val")
        if argument.name in self._tensors:
            made: Any = self._tensors[argument.name].detach().cpu()
        elif isinstance(held, torch.SymInt | torch.SymFloat | torch.SymBool | int | float):
            made = _number(held, tokens)
        elif argument not in self._free:  # asked for its size
            made = torch.empty([_number(extent, tokens) for extent in held.shape], dtype=held.dtype, device="meta")
        else:
            arguments, named = pytree.tree_map(
                lambda one: self._value(one, tokens, known), (argument.args, dict(argument.kwargs))
            )
            if "device" in named:
                named["device"] = "cpu"
            target: Any = argument.target
            made = target(*arguments, **named)
        known[argument] = made
        return made


def _number(held: Any, tokens: int) -> Any:
    """A size of PyTorch where its one symbol is the number of tokens."""
    if isinstance(held, bool | int | float):
        return held
    expression = held.node.expr
    found = expression.subs(dict.fromkeys(expression.free_symbols, tokens))
    return bool(found) if isinstance(held, torch.SymBool) else int(found)
