"""Numbers of JSON within bounds, as automata over their digits."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from chimerac.frontends.grammar.character_dfa import CharacterDfa, explore

#: Most digits before the point, and after it, of a number with bounds.
MAX_DIGITS: Final = 15
MAX_MULTIPLE: Final = 1000


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
        low = None if self.high is None else -self.high
        high = None if self.low is None else -self.low
        return Bounds(low, high, self.high_open, self.low_open)


@dataclass(frozen=True)
class _Digits:
    """A bound of a magnitude as digits; ``sign`` is -1, 0 or 1 for one below, at, or above zero."""

    sign: int
    whole: str
    fraction: str


@dataclass(frozen=True)
class _At:
    """What was read: part ("sign", "whole", "fraction"), digits in it, comparison with each bound so far, remainder."""

    part: str
    negative: bool
    digits: int
    low: int
    high: int
    remainder: int
    zero: bool


def number_dfa(bounds: Bounds, *, integer: bool, multiple: int | None = None) -> CharacterDfa:  # noqa: C901  a case for each sign and side of a range
    """The texts of numbers within bounds, without exponents; with a bound MAX_DIGITS digits on each side of the point.

    Args:
        integer: whole numbers only; they may end with ``.0``.
        multiple: the whole number is a multiple of it.
    """
    sides = {False: _digits(bounds), True: _digits(bounds.negated())}
    modulus = multiple or 1
    # without bounds the number of digits decides nothing
    counted = bounds.low is not None or bounds.high is not None

    def digit(at: _At, value: int) -> _At | None:
        low, high = sides[at.negative]
        character = str(value)
        if at.part == "whole":
            if at.zero or at.digits >= MAX_DIGITS:
                return None
            return _At(
                "whole", at.negative, at.digits + 1 if counted else 1,
                _compared(at.low, low, "whole", at.digits, character),
                _compared(at.high, high, "whole", at.digits, character),
                (at.remainder * 10 + value) % modulus, at.digits == 0 and value == 0,
            )  # fmt: skip
        if at.digits >= (1 if integer else MAX_DIGITS) or (integer and value):
            return None
        return _At(
            "fraction", at.negative, at.digits + 1,
            _compared(at.low, low, "fraction", at.digits, character),
            _compared(at.high, high, "fraction", at.digits, character),
            at.remainder, at.zero,
        )  # fmt: skip

    def moves(at: _At) -> list[tuple[int, int, _At]]:
        found: list[tuple[int, int, _At]] = []
        if at.part == "sign":
            whole = _At("whole", at.negative, 0, 0, 0, 0, False)
            if not at.negative:
                found.append((ord("-"), ord("-"), _At("sign", True, 0, 0, 0, 0, False)))
            at = whole
        for value in range(10):
            following = digit(at, value)
            if following is not None:
                found.append((48 + value, 48 + value, following))
        if at.part == "whole" and at.digits:
            low, high = (
                _settled(c, side, at.digits) for c, side in zip((at.low, at.high), sides[at.negative], strict=True)
            )
            found.append((ord("."), ord("."), _At("fraction", at.negative, 0, low, high, at.remainder, at.zero)))
        return sorted(found, key=lambda move: move[0])

    def final(at: _At) -> bool:
        if at.part == "sign" or at.digits == 0 or at.remainder:
            return False
        low, high = sides[at.negative]
        own = bounds.negated() if at.negative else bounds
        values = [at.low, at.high]
        for index, side in enumerate((low, high)):
            if at.part == "whole":
                values[index] = _settled(values[index], side, at.digits)
            done = 0 if at.part == "whole" else at.digits
            if values[index] == 0 and side is not None and side.fraction[done:].strip("0"):
                values[index] = -1
        above = own.low is None or values[0] > 0 or (values[0] == 0 and not own.low_open)
        below = own.high is None or values[1] < 0 or (values[1] == 0 and not own.high_open)
        return above and below

    return explore(_At("sign", False, 0, 0, 0, 0, False), moves, final)


def _digits(bounds: Bounds) -> tuple[_Digits | None, _Digits | None]:
    def one(value: Decimal | None) -> _Digits | None:
        if value is None:
            return None
        if value < 0:
            return _Digits(-1, "", "")
        text = format(value, "f")
        whole, _, fraction = text.partition(".")
        return _Digits(0 if value == 0 else 1, whole.lstrip("0") or "0", fraction.rstrip("0"))

    return one(bounds.low), one(bounds.high)


def _compared(so_far: int, bound: _Digits | None, part: str, position: int, character: str) -> int:
    """How digits compare with a bound's first digits, with one more digit; of the whole part, alignment comes later."""
    if bound is None or so_far or bound.sign < 0:
        return so_far
    digits = bound.whole if part == "whole" else bound.fraction
    if position >= len(digits):
        return so_far if part == "whole" or character == "0" else 1
    return (character > digits[position]) - (character < digits[position])


def _settled(so_far: int, bound: _Digits | None, digits: int) -> int:
    """How the whole part compares with a bound's, now that its number of digits is known."""
    if bound is None:
        return 0
    if bound.sign < 0:
        return 1
    if digits != len(bound.whole):
        return 1 if digits > len(bound.whole) else -1
    return so_far
