"""Arrays of different items, where there are few that an item can be: which have come is told apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from chimerac.compiler.ir.grammar import NOTHING, Call, Expression, Literal, choice, optional, sequence
from chimerac.frontends.grammar import json_text as jt

MOST_SETS: Final = 256  #: of items that have come


def sets(values: int, maximum: int) -> int:
    """How many sets of so many of some values there are."""
    return sum(math.comb(values, count) for count in range(min(values, maximum) + 1))


def different(
    items: Sequence[Expression], minimum: int, maximum: int, rules: dict[str, Expression], prefix: str
) -> Expression:
    """An array of ``minimum`` to ``maximum`` of some items, each at most once; ``rules`` get one for each set."""
    maximum = min(maximum, len(items))
    if minimum > maximum:
        return NOTHING

    def more(taken: int) -> Expression:
        """What may come after a set of items, as bits."""
        count = taken.bit_count()
        if count == maximum:
            return sequence()
        name = f"{prefix}.{taken:x}"
        if name not in rules:
            rules[name] = NOTHING  # so that it is made once
            separator = jt.COMMA if taken else sequence()
            rules[name] = choice(
                [
                    sequence(separator, item, jt.SPACES, more(taken | 1 << index))
                    for index, item in enumerate(items)
                    if not taken >> index & 1
                ]
            )
        return optional(Call(name)) if count >= minimum else Call(name)

    return sequence(Literal(b"["), jt.SPACES, more(0), Literal(b"]"))
