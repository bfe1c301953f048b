"""What a session can tell of the computation of its last generation, beside its tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from chimerac.runtime.bundle_format import OBLIGATIONS
from chimerac.runtime.sessions.guard import Guard
from chimerac.runtime.sessions.speculation import Speculating, Speculation

LEVELS: Final = ("low", "medium", "high")
LEDGER_NUMBERS: Final = len(OBLIGATIONS) + 1  #: as of chimera.h
_WHOLE: Final = 32640


@dataclass(frozen=True)
class Diagnostics:
    """Numbers of the last generation, up to now; the same on every target but for ``speculation``.

    Attributes:
        level: of the entropy valve, ``low``, ``medium`` or ``high``, which sequences begin with (docs/valve.md).
        entropy: of the next token in bits, where the valve looked last; 0 before.
        levels: level → tokens that it was chosen for; all 0 without a valve.
        obligations: what is open in the text → how many, of the kinds that are (docs/ledger.md).
        pressure: of all of these, from 0 to 1.
        speculation: what guessing tokens did.
    """

    level: str = LEVELS[-1]
    entropy: float = 0.0
    levels: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(LEVELS, 0))
    obligations: Mapping[str, int] = field(default_factory=dict)
    pressure: float = 0.0
    speculation: Speculation = field(default_factory=Speculation)

    @property
    def depth(self) -> int:
        """Obligations that are open."""
        return sum(self.obligations.values())

    @classmethod
    def of(
        cls, level: int, entropy: float, levels: Sequence[int], ledger: Sequence[int], speculation: Speculation
    ) -> Diagnostics:
        """From the numbers of the C runtime."""
        *counts, pressure = ledger
        found = {name: count for name, count in zip(OBLIGATIONS, counts, strict=True) if count}
        tokens = dict(zip(LEVELS, levels, strict=True))
        return cls(LEVELS[level], entropy, tokens, found, pressure / _WHOLE, speculation)

    @classmethod
    def read(cls, row: Mapping[str, Any] | None, speculation: Speculation) -> Diagnostics:
        """From what the JavaScript runtime tells; None of a module of before."""
        if row is None:
            return cls(speculation=speculation)
        numbers = {name: row[name] for name in ("level", "entropy", "levels", "obligations", "pressure")}
        return cls(**numbers, speculation=speculation)


class Diagnosing(Speculating):
    """Part of every session."""

    _guard: Guard

    def diagnostics(self) -> Diagnostics:
        """Numbers of the last generation: levels of the valve, open obligations, guesses."""
        speculation = self.speculation()
        with self._guard.call():
            return self._diagnostics(speculation)

    def _diagnostics(self, speculation: Speculation) -> Diagnostics:
        return Diagnostics(speculation=speculation)
