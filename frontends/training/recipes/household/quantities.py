"""Numbers of requests: as they are said, in digits, words or halves, and what they are."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Final

from chimerac.frontends.training.recipes.household.spoken import number_words

_WORDS: Final = 0.3  #: share of the numbers that a language has words for here


class Quantities:
    """Draws numbers of the ranges of a language's package."""

    def __init__(self, language: str, source: random.Random) -> None:
        self._language, self._random, self._numbers = language, source, number_words(language)

    def number(self, limits: Mapping[str, Any], *, beyond: bool = False) -> tuple[str, int | float]:
        """A number of a range as it is said, and what it is; ``beyond``: a larger one."""
        low, high, step = limits["from"], limits["to"], limits.get("step", 1)
        if beyond:
            return self._beyond(high, step)
        if limits.get("type") == "temperature" and self._random.random() < 0.7:
            low, high = 12, 30
        number: int | float = low + step * self._random.randrange((high - low) // step + 1)
        said = str(number)
        if limits.get("fractions") and self._random.random() < 0.15 and number < high:
            number, said = number + 0.5, self._half(int(number))
        elif number in self._numbers and self._random.random() < _WORDS:
            said = self._numbers[int(number)]
        return said, number * limits.get("multiplier", 1)

    def _beyond(self, high: int, step: int) -> tuple[str, int]:
        """A number beyond a range, half of them round."""
        most = self._random.choice((2, 3, 10)) * high
        number = high + step * self._random.randint(1, (most - high) // step)
        if number > high + 10 and self._random.random() < 0.5:
            number -= number % 10
        return str(number), number

    def _half(self, number: int) -> str:
        if self._language != "en" or self._random.random() < 0.6:
            return f"{number}.5"
        said = self._numbers.get(number, str(number))
        return f"{said} {self._random.choice(('point five', 'and a half'))}"
