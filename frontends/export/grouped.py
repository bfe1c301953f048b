"""k and v of an exported graph as a cache holds them: not transposed, each head once for all its query heads."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Graph, Node

from chimerac.frontends.export.scores import VIEWS, leaves, node_of

aten = torch.ops.aten


def plain(keys: Node) -> Node:
    """k [..., S, d] of a k^T that is its transposition, else k^T itself."""
    rank = keys.meta["val"].dim()
    swaps = keys.target is aten.transpose.int and {int(str(a)) % rank for a in keys.args[1:]} == {rank - 2, rank - 1}
    return node_of(keys.args[0]) if swaps else keys


def swapped(graph: Graph, keys: Node) -> Node:
    """k [..., S, d] of k^T, which is swapped once more where it was not swapped."""
    if (found := plain(keys)) is not keys:
        return found
    made = graph.call_function(aten.transpose.int, (keys, -2, -1))
    made.meta = {**keys.meta, "val": keys.meta["val"].transpose(-2, -1)}
    return made


def ungrouped(keys: Node, values: Node) -> tuple[Node, Node]:
    """Keys and values before they are repeated for the query heads of a group, where both are."""
    first, second = (_before_repeating(node) for node in (keys, values))
    if first is None or second is None or first[1] != second[1]:
        return keys, values
    return first[0], second[0]


def _before_repeating(node: Node) -> tuple[Node, int] | None:
    """Heads [..., G, S, d] of which a node has each some times, one after the other, and how often."""
    heads = node.meta["val"].dim() - 3
    if heads < 0:
        return None
    if node.target is aten.repeat_interleave.self_int:
        source, times = node.args[:2]
        axis = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim")
        if isinstance(source, Node) and isinstance(axis, int) and axis % node.meta["val"].dim() == heads:
            return source, int(str(times))
        return None
    inner: Any = node
    if inner.target not in VIEWS:
        return None
    inner = inner.args[0]
    while isinstance(inner, Node) and leaves(inner):
        inner = inner.args[0]
    if not isinstance(inner, Node) or inner.target is not aten.expand.default:
        return None
    wide, narrow = inner.meta["val"].shape, inner.args[0]
    while isinstance(narrow, Node) and narrow.target is aten.slice.Tensor and narrow.meta["val"].dim() == len(wide):
        narrow = narrow.args[0]
    if not isinstance(narrow, Node) or narrow.target is not aten.unsqueeze.default:
        return None
    source, axis = narrow.args
    times = int(wide[heads + 1])
    if not isinstance(source, Node) or int(str(axis)) % len(wide) != heads + 1 or source.meta["val"].dim() != heads + 3:
        return None
    return source, times
