"""How far each pair of channels turns from one position to the next, in the ways that published models scale it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

TURN: Final = 1 << 32  #: phases are whole numbers of 2^-32 turns, as of the op ``rope``


@dataclass(frozen=True)
class Linear:
    """Positions divided by ``factor`` (arXiv 2306.15595)."""

    factor: float


@dataclass(frozen=True)
class Llama3:
    """Long waves stretched by ``factor``, short ones left, those between in between: the rule of Llama 3.1.

    Attributes:
        low, high: waves of more than original / low positions are long, of less than original / high short.
        original: positions that the model was trained on at first.
    """

    factor: float
    low: float
    high: float
    original: float


@dataclass(frozen=True)
class Yarn:
    """NTK by parts (arXiv 2309.00071): pairs that turn more than ``fast`` times in ``original`` positions are left,
    those that turn less than ``slow`` times are stretched by ``factor``.

    Attributes:
        attention: what rotated queries and keys are multiplied with; None for 0.1 ln(factor) + 1.
        truncate: whether the bounds between the two are whole pairs.
    """

    factor: float
    original: float
    fast: float = 32.0
    slow: float = 1.0
    attention: float | None = None
    truncate: bool = True


@dataclass(frozen=True)
class Factors:
    """Waves stretched by a number for each pair: what GGUF's ``rope_freqs.weight`` holds."""

    factors: tuple[float, ...]


Scaling = Linear | Llama3 | Yarn | Factors


@dataclass(frozen=True)
class Rotary:
    """Rotary positions (arXiv 2104.09864) of heads: pairs (x[j], x[j + d/2]) turn by theta^(-2j/d) radians a position.

    Attributes:
        scaling: None for none.
    """

    theta: float
    scaling: Scaling | None = None

    @property
    def attention(self) -> float:
        """What queries and keys are multiplied with beside their rotation."""
        if not isinstance(self.scaling, Yarn):
            return 1.0
        given = self.scaling.attention
        return yarn_attention(self.scaling.factor) if given is None else given

    def radians(self, width: int) -> np.ndarray:
        """Of each pair of a head of ``width`` channels, for one position: float64 [width / 2]."""
        plain: np.ndarray = self.theta ** (-2.0 * np.arange(width // 2) / width)
        scaled = plain
        match self.scaling:
            case Linear(factor):
                scaled = plain / factor
            case Factors(factors):
                scaled = plain / np.array(factors)
            case Llama3():
                scaled = _llama3(plain, self.scaling)
            case Yarn():
                scaled = _yarn(plain, self.scaling, self.theta)
        return scaled

    def phases(self, width: int) -> Sequence[int]:
        """The same in 2^-32 turns, as integers of 32 bits with a sign."""
        turns = np.rint(self.radians(width) / (2 * np.pi) * TURN).astype(np.int64)
        return [int(turn) - TURN if turn >= TURN // 2 else int(turn) for turn in turns % TURN]


def yarn_attention(factor: float, scale: float = 1.0) -> float:
    """What yarn multiplies queries and keys with where positions are stretched by ``factor``."""
    return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0


def _llama3(plain: np.ndarray, rule: Llama3) -> np.ndarray:
    turns = rule.original * plain / (2 * np.pi)  # in the original context
    share = np.clip((turns - rule.low) / (rule.high - rule.low), 0.0, 1.0)
    blended: np.ndarray = (1 - share) * plain / rule.factor + share * plain
    return blended


def _yarn(plain: np.ndarray, rule: Yarn, theta: float) -> np.ndarray:
    width = 2 * len(plain)

    def pair(turns: float) -> float:
        """Which pair, in fractions of one, turns so often in the original context."""
        return width * math.log(rule.original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = pair(rule.fast), pair(rule.slow)
    if rule.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    if low == high:
        high += 0.001
    stretched = np.clip((np.arange(len(plain)) - low) / (high - low), 0.0, 1.0)
    blended: np.ndarray = plain / rule.factor * stretched + plain * (1 - stretched)
    return blended
