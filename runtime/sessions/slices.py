"""Cutting a prompt into calls so short that a signal, an abort or a look at the progress need not wait."""

from __future__ import annotations

from typing import Final

AIM: Final = 0.03  #: seconds of a call
ALIGNMENT: Final = 64  #: a call that crosses no multiple of it in vain costs least: blocks of models divide it
#: tokens that are run together however long they take: a large model runs them in little more time than a single one,
#: which would take longer than a call should by itself and be run alone for ever. A signal need not wait for their end:
#: ``Slices.long``
LEAST: Final = 16
_FIRST_BYTES: Final = 32 << 20  #: of weights; a model with as many surely runs ALIGNMENT tokens in AIM seconds
_MOST: Final = 4096  #: tokens of a call
#: times the tokens of the last call: where time is spent on the text before a token, later ones take longer, and so the
#: next call takes twice what a call should at most
_GROWTH: Final = 2.0
#: times as far as the last call went, and tokens more, after which what it took tells nothing: a text was restored
_FURTHER: Final = (2, 4 * ALIGNMENT)


class Slices:
    """How many tokens to run next, learned from the time that the last ones took. The numbers do not depend on it."""

    def __init__(self, weight_bytes: int) -> None:
        """Before anything was measured, guess by the bytes that a token reads."""
        self._count = float(min(ALIGNMENT, ALIGNMENT * _FIRST_BYTES // max(1, weight_bytes)))
        self._end = 0

    @property
    def long(self) -> bool:
        """Whether a call takes longer than it should, being as short as calls are."""
        return self._count < LEAST

    def next(self, position: int, left: int) -> int:
        """Tokens to run from a position on, at least 1 of the ``left`` ones."""
        if position > _FURTHER[0] * self._end + _FURTHER[1]:
            self._count = 0.0
        end = position + max(LEAST, int(self._count))
        multiple = ALIGNMENT if end // ALIGNMENT > position // ALIGNMENT else LEAST
        count = min(left, end - end % multiple - position)
        self._end = position + count
        return count

    def took(self, count: int, seconds: float) -> None:
        """What a call of so many tokens took."""
        fitting = count * AIM / max(seconds, 1e-6)
        self._count = min(fitting, _GROWTH * max(count, self._count), float(_MOST))
