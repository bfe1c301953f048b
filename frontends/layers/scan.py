"""A step of one's own for each row of a sequence: in PyTorch a loop, compiled one over the tokens of a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

Step = Callable[[Any, Any], tuple[Any, Any]]


def scan(step: Step, state: Any, sequence: Any) -> tuple[Any, Any]:
    """Run ``state, output = step(state, row)`` for each row of a sequence.

    Args:
        step: a function of tensors, which may use parameters of a module; state and outputs keep shapes and types.
        state: a tensor, or a tuple, list or dict of some: what the first row gets.
        sequence: a tensor [N, ...], or some of one N; each row has the shape [...].

    Returns:
        the state after the last row, and the outputs [N, ...] of all rows.

    Raises:
        ValueError: the sequence has no rows.
    """
    if torch.compiler.is_exporting():
        from torch._higher_order_ops.scan import scan as traced

        # what comes out may be what went in, which PyTorch's scan does not allow; and what goes in may be what the step
        # uses of a module, too, which PyTorch would take for the value that is carried, or the other way round
        state, sequence = pytree.tree_map(torch.clone, (state, sequence))
        whole: tuple[Any, Any] = traced(
            lambda carried, row: pytree.tree_map(torch.clone, step(carried, row)), state, sequence
        )
        return whole
    (length,) = {len(leaf) for leaf in pytree.tree_leaves(sequence)}
    if length == 0:
        raise ValueError("a scan needs a row at least")
    rows = []
    for place in range(length):
        state, row = step(state, pytree.tree_map(lambda leaf, place=place: leaf[place], sequence))
        rows.append(row)
    return state, pytree.tree_map(lambda *leaves: torch.stack(leaves), *rows)
