"""What the matrices of an imported module are used for, which decides whether they can have another form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from chimerac.compiler.ir.module import Module, Op, Value, walk
from chimerac.compiler.ir.types import TOKENS

#: A matrix as it is, or its transpose, which multiplies from the other side.
Side = Literal["plain", "turned"]


@dataclass
class Uses:
    """Of one constant.

    Attributes:
        sides: of products.
        looked_up: whether it is a table.
        others: what needs its floats.
    """

    sides: set[Side] = field(default_factory=set)
    looked_up: bool = False
    others: set[str] = field(default_factory=set)

    @property
    def multiplied(self) -> bool:
        """Whether products and look-ups are all that it is used for, so that it may have any form."""
        one_side = len(self.sides) + self.looked_up > 0 and not (
            "turned" in self.sides and (self.looked_up or "plain" in self.sides)
        )
        return one_side and not self.others


def weights_of(ops: tuple[Op, ...]) -> dict[str, tuple[str, Side]]:
    """Values of these ops, regions included, that are a constant or its transpose: its name, and which."""
    found: dict[str, tuple[str, Side]] = {}
    for op in walk(ops):
        if op.name == "constant":
            found[op.results[0].name] = (op.text("name"), "plain")
        elif op.name == "transpose" and op.text("perm") == "1,0":
            name, side = found.get(op.operands[0].name, ("", "turned"))
            if side == "plain":
                found[op.results[0].name] = (name, "turned")
    return found


def uses_of(module: Module) -> Mapping[str, Uses]:
    """What each constant is used for; those that nothing uses are missing."""
    uses: dict[str, Uses] = {}
    for graph in module.graphs.values():
        weights = weights_of(graph.ops)
        needed = list(graph.results)
        for op in walk(graph.ops):
            if op.results and op.results[0].name in weights:
                continue  # a transpose that nothing uses is no use either
            for place, value in enumerate(op.operands):
                if value.name in weights:
                    name, side = weights[value.name]
                    _note(uses.setdefault(name, Uses()), op, place, side)
            needed += [value for region in op.regions for value in region.results]
        for value in needed:
            if value.name in weights:
                uses.setdefault(weights[value.name][0], Uses()).others.add("a result")
    return uses


def _note(found: Uses, op: Op, place: int, side: Side) -> None:
    if op.name in ("linear", "sparse_linear") and place == 1:
        found.sides.add(side)
    elif op.name == "embedding" and place == 1 and side == "plain" and _countable(op.operands[0]):
        found.looked_up = True
    else:
        found.others.add(op.name)


def _countable(ids: Value) -> bool:
    """Whether the number of ids is a number, or that of the tokens."""
    return TOKENS not in ids.type.shape or all(extent in (1, TOKENS) for extent in ids.type.shape)
