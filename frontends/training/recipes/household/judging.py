"""What an answer is worth: a wrong action is worse than a refusal, and both are counted apart."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from chimerac.frontends.training.recipes.household.requests import HARMLESS

EXACT, WRONG_ACTION, REFUSED, WRONG_SLOTS, NOT_REFUSED_WELL = (
    "exact",
    "wrong action",
    "refused wrongly",
    "wrong slots",
    "another refusal",
)
VERDICTS: Final = (EXACT, WRONG_ACTION, REFUSED, WRONG_SLOTS, NOT_REFUSED_WELL)


def actions_of(answer: str | None) -> list[dict[str, Any]] | None:
    """The actions of an answer; None for what is no answer."""
    try:
        found: Any = None if answer is None else json.loads(answer)
    except ValueError:
        return None
    actions: list[dict[str, Any]] = found if isinstance(found, list) else [found]
    fits = all(isinstance(one, dict) and isinstance(one.get("intent"), str) for one in actions)
    return actions if actions and fits else None


def _does(actions: Iterable[Mapping[str, Any]]) -> bool:
    return any(one["intent"] not in HARMLESS for one in actions)


def verdict(expected: str, given: str | None) -> str:
    """One of VERDICTS. What is no answer counts as a refusal: nothing happens.

    A wrong action is one of another intent than was meant, or one where nothing was to be done. Things that are
    wrong within the right intent are wrong slots.
    """
    wanted, found = actions_of(expected), actions_of(given)
    assert wanted is not None
    if found == wanted:
        return EXACT
    if found is None or not _does(found):
        return REFUSED if _does(wanted) else NOT_REFUSED_WELL
    if [one["intent"] for one in found] != [one["intent"] for one in wanted]:
        return WRONG_ACTION
    return WRONG_SLOTS


@dataclass
class Tally:
    """Verdicts by some property of the rows."""

    counts: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any], split: str, found: str) -> None:
        """Count a verdict under everything that a row is."""
        for what, value in (
            ("split", split),
            ("language", row["language"]),
            ("kind", row["kind"]),
            ("noise", row["noise"] or "none"),
            ("names", "told" if row["home"] >= 0 else "none"),
            ("intent", row["intent"]),
        ):
            self.counts.setdefault((what, value), Counter())[found] += 1

    def table(self, kinds: Sequence[str] = ("split", "names", "kind", "noise", "language")) -> str:
        """A Markdown table, a row for each value of some properties."""
        lines = ["| | rows | " + " | ".join(VERDICTS) + " |", "|---|---:" + "|---:" * len(VERDICTS) + "|"]
        for (what, value), counts in self.counts.items():
            if what in kinds:
                shares = " | ".join(f"{counts[one] / counts.total():.1%}" for one in VERDICTS)
                lines.append(f"| {what}: {value} | {counts.total()} | {shares} |")
        return "\n".join([*lines[:2], *sorted(lines[2:])])
