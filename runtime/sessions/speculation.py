"""What speculation did for a generation: tokens that were guessed, and those of them that were right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

_SOURCES: Final = ("text", "grammar", "drafter", "begun", "following", "near", "loose", "head")
_OLD_SOURCES: Final = ("text", "grammar", "drafter", "bank")  #: of bundles of before
COUNTERS: Final = 4 + 2 * len(_SOURCES)  #: as CHM_COUNTERS of chimera.h
COUNTERS_WITHOUT_HEAD: Final = COUNTERS - 2
OLD_COUNTERS: Final = 4 + 2 * len(_OLD_SOURCES)
REJECTED: Final = ("damaged", "risk", "grammar")  #: as CHM_REJECTED of chimera.h
COUNTERS_WITHOUT_BANK: Final = OLD_COUNTERS - 2


@dataclass(frozen=True)
class Speculation:
    """Numbers of the last generation; all 0 where nothing was guessed.

    Attributes:
        passes: calls of the model that ran guesses.
        rollbacks: those of them of which not all guesses were right.
        proposed: tokens that were guessed.
        accepted: guesses that were right; each saved a call of the model.
        sources: who guessed → proposed and accepted, of those who did: ``text``, what followed the same 4 or 5 tokens
            before, ``loose``, 2 or 3 of them; ``grammar``; ``drafter``, a function of the caller; spans of a bank:
            those that the text is in, ``begun``, ``following`` its last two tokens, and with ``near`` keys;
            ``head``, the model's draft head.
        wrong: of ``rollbacks``, by who guessed the token in whose place another one was chosen.
        rejected: spans of a bank that were not guessed from when it was their turn: ``damaged``, their certificate is
            not that of their tokens; ``risk``, they go on otherwise too often for the level of the valve; ``grammar``,
            it forbids them from their first token on.
    """

    passes: int = 0
    rollbacks: int = 0
    proposed: int = 0
    accepted: int = 0
    sources: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    wrong: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, row: Mapping[str, Any] | None) -> Speculation:
        """From what the JavaScript runtime tells; None where nothing can be guessed."""
        if row is None:
            return cls()
        sources = {name: (pair["proposed"], pair["accepted"]) for name, pair in row["sources"].items()}
        numbers = (row["passes"], row["rollbacks"], row["proposed"], row["accepted"])
        return cls(*numbers, sources, row.get("wrong", {}), row.get("rejected", {}))

    @classmethod
    def of(cls, counters: Sequence[int], wrong: Sequence[int] = (), rejected: Sequence[int] = ()) -> Speculation:
        """From the counters of the C runtime, its rollbacks by source and its rejected spans."""
        sources = _SOURCES if len(counters) >= COUNTERS_WITHOUT_HEAD else _OLD_SOURCES
        pairs = dict(zip(sources, zip(counters[4::2], counters[5::2], strict=True), strict=False))
        passes, rollbacks, proposed, accepted = counters[:4]
        guessed = {name: pair for name, pair in pairs.items() if any(pair)}
        others = (dict(zip(names, counts, strict=False)) for names, counts in ((_SOURCES, wrong), (REJECTED, rejected)))
        told = ({name: count for name, count in counts.items() if count} for counts in others)
        return cls(passes, rollbacks, proposed, accepted, guessed, *told)


class Speculating:
    """A session that may guess tokens."""

    def speculation(self) -> Speculation:
        """What guessing did for the last generation, or has done up to now for one that runs."""
        return Speculation()
