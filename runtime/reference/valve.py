"""The entropy valve in Python: the same bits as ``native/chm_valve.c``; docs/valve.md is the contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format import Valve
from chimerac.runtime.reference import exact_math
from chimerac.runtime.reference.exact_math import F, Floats

HIGH: Final = 2
_CALM, _WEIGHT = F(0.1), F(0.5)
_PER_NAT = F(1.4426950216293335)
_LARGEST = F(3.4028235e38)
_NONE = F(0)


@dataclass(frozen=True)
class Look:
    """What the valve sees where a block begins: the entropy in bits, and how many tokens may come."""

    entropy: np.float32
    count: int


#: Where one token only may come.
FORCED: Final = Look(F(0), 1)


def look(logits: Floats, excluded: NDArray[np.bool_]) -> Look:
    """At logits f32[vocabulary] as the model gives them, of which those that are no numbers do not come either."""
    with np.errstate(all="ignore"):
        allowed = ~(np.isnan(logits) | excluded)
        if not allowed.any():
            return Look(F(0), 0)
        clamped = np.minimum(np.maximum(logits, -_LARGEST), _LARGEST)
        apart = np.where(allowed, clamped - clamped[allowed].max(), F(0))
        mass = np.where(allowed, exact_math.exp(apart), F(0))
        total = exact_math.lanes8_sum(mass)
        moment = exact_math.lanes8_sum(np.where(mass == 0, F(0), mass * apart))
        nats = F(_log(total) - F(moment / total))
        return Look(max(F(nats * _PER_NAT), F(0)), int(allowed.sum()))


def next_level(valve: Valve, level: int, seen: Look, vocabulary: int, pressure: np.float32 = _NONE) -> int:
    """The level of the block that begins, 0 low to 2 high, one step at most from the one before.

    ``pressure`` is that of the ledger, 0 to 1.
    """
    bits, parts = seen.entropy, []
    if "grammar_branching" in valve.metrics:
        parts.append(min(F(_log(F(F(seen.count) + F(1))) / _log(F(vocabulary))), F(1)))
    if "debt_pressure" in valve.metrics:
        parts.append(pressure)
    if parts:
        mean = F(F(sum(parts, F(0))) / F(len(parts)))
        bits = F(bits + F(_WEIGHT * F(mean - F(0.5))))
    bounds = (F(0), F(valve.thresholds[0]), F(valve.thresholds[1]))
    if level < HIGH and bits >= bounds[level + 1]:
        return level + 1
    return level - 1 if level > 0 and bits < F(bounds[level] - _CALM) else level


def routed_loops(scores: Floats, most: int) -> int:
    """Most iterations of a block by the router's scores f32[1, counts] after the token before it.

    The last count is ``most``; of equal scores the largest count is taken. 0 where that is ``most``.
    """
    row = scores.reshape(-1)
    best = len(row) - 1
    for index in range(best - 1, -1, -1):
        if row[index] > row[best]:
            best = index
    return most - (len(row) - 1 - best) if best < len(row) - 1 else 0


def loops_at(valve: Valve, level: int, loops: int, fewest: int, routed: int = 0) -> int:
    """The iterations of a level, of a session that takes ``loops`` of them and a model that needs ``fewest``.

    Args:
        routed: what ``routed_loops`` said where the block began.
    """
    most = min(valve.loops[level], routed or valve.loops[level])
    return loops if most >= loops else max(most, fewest)


def _log(x: np.float32) -> np.float32:
    return F(exact_math.log(np.full(1, x, np.float32))[0])
