"""Times: taking turns so that disturbances hit everything alike, and what to say of many times."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chimerac.compiler.errors import UserError
from chimerac.runtime.bundle_format.constants import MAX_THREADS

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


def check_threads(threads: Sequence[int]) -> None:
    """Raise UserError CHM420 for a number of threads that is out of range."""
    for count in threads:
        if type(count) is not int or not 0 <= count <= MAX_THREADS:
            raise UserError("CHM420", f"{count!r} threads; 1 to {MAX_THREADS} are possible, or 0 for the default")


def check_seconds(seconds: float) -> None:
    """Raise UserError CHM420 for seconds that are out of range."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= 3600:
        raise UserError("CHM420", f"{seconds!r} seconds; more than 0 and at most 3600 are possible")


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
