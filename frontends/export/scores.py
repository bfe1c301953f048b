"""Scores of attention in an exported graph, from the softmax back to the product of q and k; how they are masked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node
from torch.utils import _pytree as pytree

from chimerac.frontends.export.evaluated import Evaluated

aten = torch.ops.aten

#: Ops that leave scores and weights as they are.
SAME: tuple[Any, ...] = (
    aten.clone.default,
    aten.contiguous.default,
    aten.alias.default,
    aten.detach.default,
    aten._to_copy.default,
    aten.to.dtype,
)
VIEWS: tuple[Any, ...] = (aten.view.default, aten.reshape.default, aten._unsafe_view.default)
#: Ops that only move elements, or name their places otherwise.
MOVES: tuple[Any, ...] = (
    *VIEWS,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.transpose.int,
    aten.permute.default,
)
PRODUCTS = (aten.matmul.default, aten.bmm.default, aten.mm.default)

#: A step from products to scores: given those of a mask so far, [..., T, S], what it makes of them.
Step = Callable[[torch.Tensor, Evaluated, int], torch.Tensor]


@dataclass
class Scores:
    """How scores are made of the products of q and k.

    Attributes:
        product: q times k^T.
        scale: all factors together.
        steps: from the inner one to the outer one.
    """

    product: Node
    scale: float
    steps: list[Step]


def scores_of(softmax: Node, evaluated: Evaluated) -> Scores | None:
    """The scores that a softmax is of; None if they are nothing of the kind."""
    node: Any = softmax.args[0]
    scale, steps = 1.0, list[Step]()
    while isinstance(node, Node):
        moves: list[Node] = []
        while node.target in MOVES:
            moves.insert(0, node)
            node = node.args[0]
        if not _keeps_order(moves, evaluated):
            return None
        if node.target in PRODUCTS:
            return Scores(node, scale, steps[::-1])
        if node.target is aten.baddbmm.default:
            if not evaluated.is_free(node.args[0]):
                return None
            steps.append(_added(node.args[0], float(str(node.kwargs.get("beta", 1)))))
            return Scores(node, scale * float(str(node.kwargs.get("alpha", 1))), steps[::-1])
        found = _step(node, evaluated)
        if found is None:
            return None
        node, factor, step = found
        scale *= factor
        if step is not None:
            steps.append(step)
    return None


def leaves(node: Node) -> bool:
    """Whether an op leaves its operand as it is: one of ``SAME``, or a dropout that drops nothing."""
    return node.target in SAME or (node.target is aten.dropout.default and not node.args[2])


def _step(node: Node, evaluated: Evaluated) -> tuple[Any, float, Step | None] | None:
    """What a node of the scores is of, a factor, and what it does to the scores of a mask."""
    free, target = evaluated.is_free, node.target
    if leaves(node):
        return node.args[0], 1.0, None
    if target in (aten.mul.Tensor, aten.div.Tensor):
        left, right = node.args[:2]
        if target is aten.mul.Tensor and free(left):
            left, right = right, left
        factor = _scalar(evaluated.of(right)) if free(right) and not free(left) else None
        if not factor:
            return None
        return left, 1 / factor if target is aten.div.Tensor else factor, _scaled(right, factor, target)
    if target is aten.add.Tensor and not node.kwargs:
        left, right = node.args
        if free(left):
            left, right = right, left
        return None if free(left) or not free(right) else (left, 1.0, _added(right))
    if target is aten.masked_fill.Scalar or target is aten.masked_fill.Tensor:
        scores, mask, value = node.args
        return (scores, 1.0, _filled(mask, value)) if free(mask) and free(value) else None
    if target in (aten.where.self, aten.where.ScalarOther, aten.where.ScalarSelf):
        condition, left, right = node.args
        if not free(condition) or free(left) == free(right):
            return None
        if free(left):
            return right, 1.0, _filled(condition, left)
        return left, 1.0, _filled(condition, right, kept=True)
    return None


def product_of(node: Node, evaluated: Evaluated) -> Node | None:
    """The product of the weights that a softmax gives with v, which alone uses them; None if something else does."""
    moves: list[Node] = []
    while True:
        users = [user for user in node.users if not str(user.target).startswith("aten._assert")]
        if len(users) != 1 or users[0].args[0] is not node:
            return None
        (node,) = users
        if node.target in PRODUCTS:
            return node if _keeps_order(moves, evaluated) else None
        if node.target in MOVES:
            moves.append(node)
        elif not leaves(node):
            return None


def _keeps_order(moves: list[Node], evaluated: Evaluated) -> bool:
    """Whether moves in a row, which are tried with numbers, leave [..., T, S] as it is, but for axes of 1."""
    if not moves:
        return True
    start = node_of(moves[0].args[0])
    axes = (n.meta["val"].shape[-2:] for n in (start, moves[-1]))
    if len({str(tuple(extents)) for extents in axes}) != 1:
        return False
    numbers = torch.arange(math.prod(shape := evaluated.extents(start, 3))).reshape(shape)
    moved = numbers
    for move in moves:
        target: Any = move.target
        moved = target(moved, *pytree.tree_map(lambda one: evaluated.of(one, 3), list(move.args[1:])))
    return torch.equal(moved.flatten(), numbers.flatten())


def node_of(argument: Any) -> Node:
    """An argument that is a node."""
    assert isinstance(argument, Node)
    return argument


def _scalar(value: Any) -> float | None:
    if isinstance(value, torch.Tensor):
        return float(value) if value.numel() == 1 else None
    return float(value)


def _scaled(number: Any, factor: float, target: Any) -> Step:
    """A factor, or divisor, which must be the same in every text."""

    def step(mask: torch.Tensor, evaluated: Evaluated, tokens: int) -> torch.Tensor:
        if _scalar(evaluated.of(number, tokens)) != factor:
            raise ValueError("a factor depends on the text")
        found: torch.Tensor = target(mask, factor)
        return found

    return step


def _added(term: Any, factor: float = 1.0) -> Step:
    def step(mask: torch.Tensor, evaluated: Evaluated, tokens: int) -> torch.Tensor:
        found: torch.Tensor = mask + factor * evaluated.of(term, tokens)
        return found

    return step


def _filled(condition: Any, value: Any, kept: bool = False) -> Step:
    """``value`` where the condition holds; with ``kept``, where it does not."""

    def step(mask: torch.Tensor, evaluated: Evaluated, tokens: int) -> torch.Tensor:
        where, other = evaluated.of(condition, tokens).bool(), torch.as_tensor(evaluated.of(value, tokens))
        return torch.where(where != kept, other.to(mask.dtype), mask)

    return step
