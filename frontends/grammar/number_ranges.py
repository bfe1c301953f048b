"""Numbers of JSON within bounds, as automata over their digits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

from chimerac.frontends.grammar.character_dfa import CharacterDfa, explore

#: Digits before the point, and after it, that a number with bounds may have at least: enough for 64 bits, and a double.
WHOLE_DIGITS: Final = 20
FRACTION_DIGITS: Final = 15
#: Of a ``multipleOf`` as a whole number, and digits after its point.
MAX_MULTIPLE: Final = 1000
MAX_SCALE: Final = 15


@dataclass(frozen=True)
class Bounds:
    """``low`` and ``high`` bound a number, themselves allowed unless they are open; None: no bound."""

    low: Decimal | None = None
    high: Decimal | None = None
    low_open: bool = False
    high_open: bool = False

    def holds(self, value: Decimal) -> bool:
        """Whether a number is within the bounds."""
        above = self.low is None or value > self.low or (value == self.low and not self.low_open)
        below = self.high is None or value < self.high or (value == self.high and not self.high_open)
        return above and below

    def negated(self) -> Bounds:
        """The bounds of the negative number."""
        # not -x, which rounds to the digits of the context
        low = None if self.high is None else self.high.copy_negate()
        high = None if self.low is None else self.low.copy_negate()
        return Bounds(low, high, self.high_open, self.low_open)

    def tightened(self, value: Decimal, *, low: bool, out: bool) -> Bounds:
        """The bounds with one more of them; ``out`` if the value itself is not within."""
        if low:
            if self.low is None or value > self.low or (value == self.low and out):
                return Bounds(value, self.high, out, self.high_open)
        elif self.high is None or value < self.high or (value == self.high and out):
            return Bounds(self.low, value, self.low_open, out)
        return self


@dataclass(frozen=True)
class Step:
    """Numbers that are multiples of ``count`` · 10^-``scale``; whole numbers are those of 1."""

    count: int = 1
    scale: int = 0

    @property
    def value(self) -> Fraction:
        """The number that divides."""
        return Fraction(self.count, 10**self.scale)


def step_of(value: Fraction) -> Step | None:
    """A number as a step; None if it has more than MAX_SCALE digits after the point or more than MAX_MULTIPLE steps."""
    for scale in range(MAX_SCALE + 1):
        scaled = value * 10**scale
        if scaled.denominator == 1:
            return Step(scaled.numerator, scale) if scaled.numerator <= MAX_MULTIPLE else None
    return None


def common(left: Fraction, right: Fraction) -> Fraction:
    """The least common multiple of two numbers."""
    return Fraction(math.lcm(left.numerator, right.numerator), math.gcd(left.denominator, right.denominator))


def number_dfa(bounds: Bounds, *, integer: bool, multiple: Fraction | int | None = None) -> CharacterDfa:
    """The texts of numbers within bounds, without exponents.

    With a bound they may have as many digits as it and one more on each side of the point, and at least WHOLE_DIGITS
    and FRACTION_DIGITS.

    Args:
        integer: whole numbers only; they may end with ``.0``.
        multiple: the number is a multiple of it; one that ``step_of`` knows.
    """
    factor = Fraction(1) if integer else None
    if multiple is not None:
        factor = Fraction(multiple) if factor is None else common(factor, Fraction(multiple))
    step = None if factor is None else step_of(factor)
    assert (step is None) == (factor is None), factor
    numbers = _Numbers(bounds, step)
    return explore(_At(), numbers.moves, numbers.final)


@dataclass(frozen=True)
class _Digits:
    """A bound of a magnitude as digits; ``sign`` is -1, 0 or 1 for one below, at, or above zero."""

    sign: int
    whole: str
    fraction: str


@dataclass(frozen=True)
class _At:
    """What was read: part ("sign", "whole", "fraction"), digits in it, comparison with each bound so far, remainder."""

    part: str = "sign"
    negative: bool = False
    digits: int = 0
    low: int = 0
    high: int = 0
    remainder: int = 0
    zero: bool = False


class _Numbers:
    """The automaton of numbers, state by state."""

    def __init__(self, bounds: Bounds, step: Step | None) -> None:
        self.bounds = {False: bounds, True: bounds.negated()}
        self.sides = {negative: _digits(own) for negative, own in self.bounds.items()}
        self.step = step
        edges = [side for side in self.sides[False] + self.sides[True] if side is not None]
        longest = max((len(side.whole) for side in edges), default=0)
        self.most_whole = max(WHOLE_DIGITS, longest + 1)
        # more digits than those of the bounds decide nothing; remainders would make too many states of them
        self.told = self.most_whole if edges and (step is None or step.count == 1) else longest + 1
        self.most_fraction = max([FRACTION_DIGITS, *(len(side.fraction) + 1 for side in edges)])
        if step is not None:
            # a multiple of many digits with .0 is another number to readers of doubles
            self.most_fraction = step.scale if step.scale or step.count > 1 else 1

    def moves(self, at: _At) -> list[tuple[int, int, _At]]:
        """The digits, signs and points that may come."""
        found: list[tuple[int, int, _At]] = []
        if at.part == "sign":
            if not at.negative:
                found.append((ord("-"), ord("-"), _At(negative=True)))
            at = _At("whole", at.negative)
        for value in range(10):
            following = self._whole(at, value) if at.part == "whole" else self._fraction(at, value)
            if following is not None:
                found.append((48 + value, 48 + value, following))
        if at.part == "whole" and at.digits:
            low, high = self._settled(at)
            found.append((ord("."), ord("."), _At("fraction", at.negative, 0, low, high, at.remainder, at.zero)))
        return sorted(found, key=lambda move: move[0])

    def _whole(self, at: _At, value: int) -> _At | None:
        above = self.sides[at.negative][1]
        too_large = above is not None and (above.sign < 0 or at.digits >= len(above.whole))
        if at.zero or too_large or at.digits >= self.most_whole:
            return None
        low, high = self._compared(at, value)
        remainder = 0 if self.step is None else (at.remainder * 10 + value) % self.step.count
        digits = min(at.digits + 1, self.told)
        return _At("whole", at.negative, digits, low, high, remainder, at.digits == 0 and value == 0)

    def _fraction(self, at: _At, value: int) -> _At | None:
        if at.digits >= self.most_fraction:
            return None
        remainder = 0
        if self.step is not None:
            if at.digits >= self.step.scale and value:
                return None
            inside = at.digits < self.step.scale
            remainder = (at.remainder * 10 + value) % self.step.count if inside else at.remainder
        low, high = self._compared(at, value)
        return _At("fraction", at.negative, at.digits + 1, low, high, remainder, at.zero)

    def final(self, at: _At) -> bool:
        """Whether what was read is a number within the bounds."""
        if at.part == "sign" or at.digits == 0 or not self._divides(at):
            return False
        own = self.bounds[at.negative]
        values = list(self._settled(at)) if at.part == "whole" else [at.low, at.high]
        done = 0 if at.part == "whole" else at.digits
        for index, side in enumerate(self.sides[at.negative]):
            if values[index] == 0 and side is not None and side.fraction[done:].strip("0"):
                values[index] = -1
        above = own.low is None or values[0] > 0 or (values[0] == 0 and not own.low_open)
        below = own.high is None or values[1] < 0 or (values[1] == 0 and not own.high_open)
        return above and below

    def _divides(self, at: _At) -> bool:
        if self.step is None:
            return True
        read = at.digits if at.part == "fraction" else 0
        rest: int = at.remainder * 10 ** max(0, self.step.scale - read)
        return rest % self.step.count == 0

    def _compared(self, at: _At, value: int) -> tuple[int, int]:
        low, high = self.sides[at.negative]
        return _compared(at.low, low, at, str(value)), _compared(at.high, high, at, str(value))

    def _settled(self, at: _At) -> tuple[int, int]:
        low, high = self.sides[at.negative]
        return _settled(at.low, low, at.digits), _settled(at.high, high, at.digits)


def _digits(bounds: Bounds) -> tuple[_Digits | None, _Digits | None]:
    def one(value: Decimal | None) -> _Digits | None:
        if value is None:
            return None
        if value < 0:
            return _Digits(-1, "", "")
        whole, _, fraction = format(value.copy_abs(), "f").partition(".")
        return _Digits(0 if value == 0 else 1, whole.lstrip("0") or "0", fraction.rstrip("0"))

    return one(bounds.low), one(bounds.high)


def _compared(so_far: int, bound: _Digits | None, at: _At, character: str) -> int:
    """How digits compare with a bound's first digits, with one more digit; of the whole part, alignment comes later."""
    if bound is None or so_far or bound.sign < 0:
        return so_far
    digits = bound.whole if at.part == "whole" else bound.fraction
    if at.digits >= len(digits):
        return so_far if at.part == "whole" or character == "0" else 1
    return (character > digits[at.digits]) - (character < digits[at.digits])


def _settled(so_far: int, bound: _Digits | None, digits: int) -> int:
    """How the whole part compares with a bound's, now that its number of digits is known."""
    if bound is None:
        return 0
    if bound.sign < 0:
        return 1
    if digits != len(bound.whole):
        return 1 if digits > len(bound.whole) else -1
    return so_far
