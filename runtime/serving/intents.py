"""What an answer asks a home to do: actions with an intent and its slots, or nothing that is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

#: Intents of answers that do nothing → what a person is told.
REFUSALS: Final[Mapping[str, str]] = {
    "OutOfDomain": "Sorry, I cannot do that.",
    "NoSuchDevice": "There is no such device.",
    "AmbiguousDevice": "There is more than one of that name. Say the area, too.",
}


@dataclass(frozen=True)
class Action:
    """One thing to be done."""

    intent: str
    slots: Mapping[str, Any]


def actions_of(answer: str) -> tuple[Action, ...]:
    """The actions of ``{"intent": …, "slots": {…}}``, or of a list of them; none of any other text."""
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        return ()
    rows = found if isinstance(found, list) else [found]
    actions = [_action(row) for row in rows]
    return tuple(one for one in actions if one is not None) if None not in actions else ()


def _action(row: Any) -> Action | None:
    if not isinstance(row, dict) or not isinstance(row.get("intent"), str):
        return None
    slots = row.get("slots", {})
    return Action(row["intent"], slots) if isinstance(slots, dict) else None


def refusal_of(actions: tuple[Action, ...]) -> str | None:
    """What a person is told where one of the actions is a refusal, and so none is to be done; None where all are."""
    return next((REFUSALS[one.intent] for one in actions if one.intent in REFUSALS), None)
