"""What speculation did for a generation: tokens that were guessed, and those of them that were right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

COUNTERS: Final = 12  #: as CHM_COUNTERS of chimera.h
COUNTERS_WITHOUT_BANK: Final = 10  #: of bundles of before
_SOURCES: Final = ("text", "grammar", "drafter", "bank")


@dataclass(frozen=True)
class Speculation:
    """Numbers of the last generation; all 0 where nothing was guessed.

    Attributes:
        passes: calls of the model that ran guesses.
        rollbacks: those of them of which not all guesses were right.
        proposed: tokens that were guessed.
        accepted: guesses that were right; each saved a call of the model.
        sources: who guessed → proposed and accepted, of those who did.
    """

    passes: int = 0
    rollbacks: int = 0
    proposed: int = 0
    accepted: int = 0
    sources: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def read(cls, row: Mapping[str, Any] | None) -> Speculation:
        """From what the JavaScript runtime tells; None where nothing can be guessed."""
        if row is None:
            return cls()
        sources = {name: (pair["proposed"], pair["accepted"]) for name, pair in row["sources"].items()}
        return cls(row["passes"], row["rollbacks"], row["proposed"], row["accepted"], sources)

    @classmethod
    def of(cls, counters: Sequence[int]) -> Speculation:
        """From the counters of the C runtime."""
        pairs = dict(zip(_SOURCES, zip(counters[4::2], counters[5::2], strict=True), strict=False))
        passes, rollbacks, proposed, accepted = counters[:4]
        return cls(passes, rollbacks, proposed, accepted, {name: pair for name, pair in pairs.items() if any(pair)})


class Speculating:
    """A session that may guess tokens."""

    def speculation(self) -> Speculation:
        """What guessing did for the last generation, or has done up to now for one that runs."""
        return Speculation()
