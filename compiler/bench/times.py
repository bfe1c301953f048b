"""Times: taking turns so that disturbances hit everything alike, and what to say of many times."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Clock = Callable[[], float]  #: seconds from any start


@dataclass(frozen=True)
class Summary:
    """Times of one thing, in seconds: the median, the shortest, and the one that nine of ten do not exceed."""

    median: float
    best: float
    p90: float
    count: int


def summarise(times: Sequence[float]) -> Summary:
    """``times`` has one entry at least; quantiles are members of it (nearest rank), the median of an even number the
    mean of the two in the middle.
    """
    ordered = sorted(times)
    count = len(ordered)
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return Summary(middle, ordered[0], ordered[math.ceil(0.9 * count) - 1], count)


def take_turns(
    tasks: Sequence[Callable[[], None]], seconds: float, *, most: int = 1000, clock: Clock = time.perf_counter
) -> int:
    """Call every task once, in order, and again in rounds while another round is likely to end in time.

    Returns the number of rounds, 1 to ``most``.
    """
    begun = clock()
    for done in range(1, most + 1):
        for task in tasks:
            task()
        spent = clock() - begun
        if spent * (done + 1) / done > seconds:
            return done
    return most


def repeats(seconds: float, one: float, most: int) -> int:
    """How often something that takes ``one`` second fits ``seconds``, 1 to ``most``."""
    return max(1, min(most, int(seconds / one))) if one > 0 else most
