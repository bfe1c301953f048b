"""Verdicts about answers."""

from __future__ import annotations

import pytest

from chimerac.frontends.training.recipes.household.judging import (
    EXACT,
    NOT_REFUSED_WELL,
    REFUSED,
    WRONG_ACTION,
    WRONG_SLOTS,
    Tally,
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


def test_tables_have_a_row_for_each_value() -> None:
    tally = Tally()
    row = {"language": "sv", "kind": "never", "noise": "", "home": -1, "intent": "OutOfDomain"}
    for found in (EXACT, EXACT, WRONG_ACTION, REFUSED):
        tally.add(row, "seen", found)
    table = tally.table(("split", "noise"))
    assert "| split: seen | 4 | 50.0% | 25.0% | 25.0% | 0.0% | 0.0% |" in table
    assert "| noise: none | 4 |" in table
    assert "never" not in table
