"""Verdicts about answers, and refusals by probability."""

from __future__ import annotations

import math
import random

import pytest

from chimerac.frontends.training.recipes.household.judging import (
    EXACT,
    NOT_REFUSED_WELL,
    REFUSED,
    WRONG_ACTION,
    WRONG_SLOTS,
    Scored,
    Tally,
    fitted,
    threshold,
    verdict,
)

ON = '{"intent":"HassTurnOn","slots":{"name":"a"}}'
OFF = '{"intent":"HassTurnOff","slots":{"name":"a"}}'
OTHER = '{"intent":"HassTurnOn","slots":{"name":"b"}}'
NO = '{"intent":"OutOfDomain","slots":{}}'
ABSENT = '{"intent":"NoSuchDevice","slots":{}}'
CASES = [
    (ON, '{"slots": {"name": "a"}, "intent": "HassTurnOn"}', EXACT),
    (ON, OFF, WRONG_ACTION),
    (ON, OTHER, WRONG_SLOTS),
    (ON, NO, REFUSED),
    (ON, ABSENT, REFUSED),
    (ON, "", REFUSED),
    (ON, None, REFUSED),
    (ON, "[]", REFUSED),
    (ON, "[1]", REFUSED),
    (NO, ON, WRONG_ACTION),
    (NO, NO, EXACT),
    (NO, ABSENT, NOT_REFUSED_WELL),
    (f"[{ON},{OFF}]", f"[{ON},{OFF}]", EXACT),
    (f"[{ON},{OFF}]", ON, WRONG_ACTION),
    (f"[{ON},{OFF}]", f"[{OTHER},{OFF}]", WRONG_SLOTS),
    (ON, f"[{NO},{OFF}]", WRONG_ACTION),
]


@pytest.mark.parametrize(("expected", "given", "found"), CASES)
def test_verdicts(expected: str, given: str | None, found: str) -> None:
    assert verdict(expected, given) == found


def test_a_temperature_is_found_again() -> None:
    """Scores that are three times too sure."""
    source = random.Random(1)
    rows = []
    for _ in range(6000):
        chance = source.random()
        right = source.random() < chance
        rows.append(Scored(3 * math.log(chance), EXACT if right else WRONG_ACTION))
    assert 2.5 < fitted(rows) < 3.6
    found = threshold(rows, fitted(rows), 0.01)
    assert found.wrong_actions <= 0.01
    assert found.exact + found.refused == pytest.approx(sum(row.verdict == EXACT for row in rows) / len(rows))
    assert threshold(rows, 3.0, 1.0).threshold == 0.0
    assert threshold([Scored(0.0, WRONG_ACTION)], 1.0).wrong_actions == 1.0


def test_tables_have_a_row_for_each_value() -> None:
    tally = Tally()
    row = {"language": "sv", "kind": "never", "noise": "", "home": -1, "intent": "OutOfDomain"}
    for found in (EXACT, EXACT, WRONG_ACTION, REFUSED):
        tally.add(row, "seen", found)
    table = tally.table(("split", "noise"))
    assert "| split: seen | 4 | 50.0% | 25.0% | 25.0% | 0.0% | 0.0% |" in table
    assert "| noise: none | 4 |" in table
    assert "never" not in table
