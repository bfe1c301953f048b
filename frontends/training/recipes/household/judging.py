"""What an answer is worth: a wrong action is worse than a refusal, and both are counted apart.

Refusals are calibrated by the answer's log probability under the grammar: ``fitted`` finds the temperature at which
``exp(score / T)`` is, on held-out rows, nearest to the share of right answers, and ``threshold`` the probability below
which an answer is to be refused so that few wrong actions are left (temperature scaling, arXiv 1706.04599).
"""

from __future__ import annotations

import json
import math
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
_TEMPERATURES: Final = tuple(2 ** (step / 8) for step in range(-24, 57))


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


@dataclass(frozen=True)
class Scored:
    """An answer: the sum of the log probabilities of its tokens under the grammar, and what it is worth."""

    score: float
    verdict: str


def fitted(rows: Sequence[Scored]) -> float:
    """The temperature with the least log loss of ``exp(score / T)`` as the probability of an exact answer."""

    def loss(temperature: float) -> float:
        total = 0.0
        for row in rows:
            chance = min(max(math.exp(row.score / temperature), 1e-6), 1 - 1e-6)
            total -= math.log(chance if row.verdict == EXACT else 1 - chance)
        return total

    return min(_TEMPERATURES, key=loss)


@dataclass(frozen=True)
class Operating:
    """What refusing every answer below a probability gives, in shares of all rows."""

    threshold: float
    wrong_actions: float
    refused: float  #: commands that were right, and are refused
    exact: float


def threshold(rows: Sequence[Scored], temperature: float, most_wrong: float = 0.005) -> Operating:
    """The lowest probability with at most so many wrong actions; where there is none, the highest of all rows."""
    chances = sorted({0.0, 1.0, *(math.exp(row.score / temperature) for row in rows)})
    for least in chances:
        kept = [row for row in rows if math.exp(row.score / temperature) >= least]
        wrong = sum(row.verdict == WRONG_ACTION for row in kept) / len(rows)
        if wrong <= most_wrong or least == chances[-1]:
            exact = sum(row.verdict == EXACT for row in kept)
            lost = sum(row.verdict == EXACT for row in rows) - exact
            return Operating(least, wrong, lost / len(rows), exact / len(rows))
    raise AssertionError("the last one returns")
