"""What stands in the way of an import, all of it at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chimerac.compiler.errors import UserError
from chimerac.frontends.export.places import Place


@dataclass(frozen=True)
class Obstacle:
    """Something that stands in the way, once.

    Attributes:
        code: of the error, ``CHM###``.
        message: what is wrong.
        op: the PyTorch op that it is about, as PyTorch prints it; empty if none.
        count: how often.
        places: where, in the order of the graph, each once; empty if nobody knows.
        advice: what to do about it; empty if nobody knows.
    """

    code: str
    message: str
    op: str = ""
    count: int = 1
    places: tuple[Place, ...] = ()
    advice: str = ""


class ObstaclesError(UserError):
    """A module that cannot be imported; ``obstacles`` are all that the walk over its graph met.

    Args:
        first: the first error; code, message and hint are its.
        obstacles: one for each time.
    """

    def __init__(self, first: UserError, obstacles: Sequence[Obstacle]) -> None:
        self.obstacles = merged(obstacles)
        hint, count = first.hint, len(self.obstacles)
        if count > 1:
            more = f"the first of {count} obstacles; `chimerac explain` shows all"
            hint = f"{hint}; {more}" if hint else more
        super().__init__(first.code, first.message, span=first.span, hint=hint)


def merged(obstacles: Iterable[Obstacle]) -> tuple[Obstacle, ...]:
    """The same obstacles at several places as one."""
    groups: dict[tuple[str, str, str], list[Obstacle]] = {}
    for one in obstacles:
        groups.setdefault((one.code, one.op, one.message), []).append(one)
    return tuple(
        Obstacle(
            code,
            message,
            op,
            sum(one.count for one in group),
            tuple(dict.fromkeys(place for one in group for place in one.places)),
            next((one.advice for one in group if one.advice), ""),
        )
        for (code, op, message), group in groups.items()
    )
