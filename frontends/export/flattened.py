"""Axes that a module flattens into the axis of the tokens for a while, as norms of heads do, kept apart.

``x.reshape(-1, width)`` of [1, T, heads, width] has T * heads rows, an axis that calls of some tokens cannot have.
Where all that follows treats each row by itself until the axes are told apart again, it computes the same on
[T, heads, width].
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import SymInt
from torch.fx import Graph, Node

_VIEWS = (torch.ops.aten.view.default, torch.ops.aten.reshape.default, torch.ops.aten._unsafe_view.default)
#: Ops along the last axis: reductions with their axes second.
_LAST = (torch.ops.aten.mean.dim, torch.ops.aten.sum.dim_IntList, torch.ops.aten.amax.default)
_ASSERTS = (torch.ops.aten._assert_tensor_metadata.default,)
_CASTS = (torch.ops.aten._to_copy.default, torch.ops.aten.clone.default)


def keep_apart(graph: Graph) -> None:
    """Change the nodes of a graph between flattening and its end, where they allow it."""
    flat = {node: None for node in graph.nodes if _is_flat(node)}
    if not flat or not all(_by_rows(node, flat) for node in flat):
        return
    if not all(user in flat or user.target in (*_VIEWS, *_ASSERTS) for node in flat for user in node.users):
        return
    for node in flat:
        arguments: Any = node.args
        target: Any = node.target
        if target in _VIEWS:
            before = arguments[0].meta["val"]
            tokens, *inner = before.shape[_tokens(before.shape) :]
            node.args = (arguments[0], [-1, *inner])
            node.meta["val"] = before.reshape(tokens, *inner)
        else:
            named = dict(zip(node.kwargs, _values(node.kwargs.values()), strict=True))
            node.meta["val"] = target(*_values(arguments), **named)


def _is_flat(node: Node) -> bool:
    """Whether the first axis is several times as long as that of the tokens."""
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dim() > 1 and _several(value.shape[0])


def _several(size: Any) -> bool:
    return isinstance(size, SymInt) and not size.node.expr.is_Symbol


def _tokens(shape: Any) -> int:
    """The axis of the tokens, -1 if there is none, or something else before it than axes of one."""
    for axis, size in enumerate(shape):
        if isinstance(size, SymInt):
            return axis if size.node.expr.is_Symbol else -1
        if size != 1:
            return -1
    return -1


def _by_rows(node: Node, flat: dict[Node, None]) -> bool:
    """Whether a flat value's rows are each computed of the rows at the same place."""
    target: Any = node.target
    arguments: Any = node.args
    if target in _VIEWS:
        before = arguments[0].meta["val"].shape
        after = node.meta["val"].shape
        return _tokens(before) >= 0 and len(after) == 2 and after[1] == before[-1]
    if not isinstance(target, torch._ops.OpOverload):
        return False
    others = [other for other in node.all_input_nodes if other not in flat]
    if any(other.meta["val"].dim() > 1 for other in others if isinstance(other.meta.get("val"), torch.Tensor)):
        return False
    if target in _LAST:
        return list(arguments[1]) == [-1] and len(arguments) > 2 and bool(arguments[2])
    return torch.Tag.pointwise in target.tags or target in _CASTS


def _values(arguments: Any) -> Iterator[Any]:
    return (argument.meta["val"] if isinstance(argument, Node) else argument for argument in arguments)
