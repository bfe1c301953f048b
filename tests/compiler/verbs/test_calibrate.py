"""Choosing which answers to refuse: the numbers of another implementation, rows that a bundle answers, and mistakes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from chimerac.compiler.cli.main import main
from chimerac.compiler.errors import UserError
from chimerac.compiler.verbs import calibrate as calibrating
from chimerac.compiler.verbs.calibrate import HARMLESS, Judged, calibrate, chosen_from, verdict
from chimerac.frontends.training.recipes.household import judging
from chimerac.runtime import load

RANDOM = np.random.default_rng()
#: A verdict of ours → that of the recipe's own judging.
NAMES = {
    calibrating.RIGHT: judging.EXACT,
    calibrating.WRONG_ACTION: judging.WRONG_ACTION,
    calibrating.WRONG_SLOTS: judging.WRONG_SLOTS,
    calibrating.NOTHING_DONE: judging.REFUSED,
}


def drawn(count: int, truth: float) -> list[Judged]:
    """Answers that are right with the probability ``exp(score / truth)``."""
    found = []
    for _ in range(count):
        score = -float(RANDOM.exponential())
        right = RANDOM.random() < math.exp(score / truth)
        found.append(Judged(score, calibrating.RIGHT if right else str(RANDOM.choice([*NAMES][1:]))))
    return found


@pytest.mark.parametrize("truth", [0.5, 3.0])
def test_the_temperature_is_found_again(truth: float) -> None:
    found = chosen_from(drawn(4000, truth), 0.01)
    assert found.temperature == pytest.approx(truth, rel=0.12)
    assert found.chosen.wrong_actions <= 0.01
    assert found.checked.wrong_actions <= 0.025
    assert found.before.rows == 4000
    assert found.chosen.rows == found.checked.rows == 2000


def test_the_threshold_is_the_lowest_that_leaves_few_wrong_actions() -> None:
    """Of all that could be chosen, one after the other."""
    answers = drawn(600, 2.0)
    threshold = calibrating.lowest_threshold(answers, 2.0, 0.02)

    def kept(least: float, verdict: str) -> int:
        return sum(one.verdict == verdict and math.exp(one.score / 2.0) >= least for one in answers)

    chances = sorted(math.exp(one.score / 2.0) for one in answers)
    lowest = next(least for least in chances if kept(least, calibrating.WRONG_ACTION) <= 0.02 * 600)
    assert lowest >= threshold > lowest - 0.05
    shares, right = calibrating.shares(answers, 2.0, threshold), kept(0.0, calibrating.RIGHT)
    assert shares.wrong_actions == kept(threshold, calibrating.WRONG_ACTION) / 600 <= 0.02
    assert shares.right == kept(threshold, calibrating.RIGHT) / 600
    assert shares.lost == (right - kept(threshold, calibrating.RIGHT)) / 600
    assert calibrating.lowest_threshold(answers, 2.0, 1.0) == 0
    assert calibrating.shares(answers, 2.0, calibrating.lowest_threshold(answers, 2.0, 0.0)).wrong_actions == 0


@pytest.mark.parametrize(
    ("expected", "given", "found"),
    [
        ({"intent": "On", "slots": {}}, {"slots": {}, "intent": "On"}, calibrating.RIGHT),
        ({"intent": "On", "slots": {}}, {"intent": "On", "slots": {"area": "x"}}, calibrating.WRONG_SLOTS),
        ({"intent": "On", "slots": {}}, {"intent": "Off", "slots": {}}, calibrating.WRONG_ACTION),
        ({"intent": "On"}, [{"intent": "On"}, {"intent": "Off"}], calibrating.WRONG_ACTION),
        ({"intent": "On"}, {"intent": "OutOfDomain"}, calibrating.NOTHING_DONE),
        ({"intent": "OutOfDomain"}, {"intent": "NoSuchDevice"}, calibrating.NOTHING_DONE),
        ({"intent": "OutOfDomain"}, {"intent": "On"}, calibrating.WRONG_ACTION),
        ("yes", "no", calibrating.WRONG_ACTION),
        ("yes", "yes", calibrating.RIGHT),
        ([], {"intent": 3}, calibrating.WRONG_ACTION),
    ],
)
def test_verdicts(expected: Any, given: Any, found: str) -> None:
    assert verdict(expected, given, HARMLESS) == found
    if isinstance(expected, dict) and found in NAMES and expected["intent"] == "On":
        assert judging.verdict(json.dumps(expected), json.dumps(given)) == NAMES[found]


def test_a_bundle_is_calibrated(toy: Any, tmp_path: Path) -> None:
    """Every third row expects what the bundle says."""
    rows = []
    with load(toy.folder) as session:
        for number in range(30):
            request = f"request {number}"
            said = "".join(map(str, session.generate(request, max_tokens=160)))
            rows.append({"request": request, "json": said if number % 3 == 0 else "no", "home": number % 2 - 1})
    data, homes = tmp_path / "rows.jsonl", tmp_path / "homes.json"
    data.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    homes.write_text(json.dumps([{"entities": []}]))
    told: list[tuple[int, int]] = []
    found = calibrate(toy.folder, data, homes=homes, tell=lambda *place: told.append(place))
    assert found.before.right == pytest.approx(1 / 3)
    assert found.before.wrong_actions == pytest.approx(2 / 3)
    assert found.chosen.wrong_actions <= 0.005
    assert told == [(n, 30) for n in range(1, 31)]
    outcome = CliRunner().invoke(main, ["calibrate", *map(str, (toy.folder, data, "--homes", homes))])
    assert outcome.exit_code == 0
    assert f"threshold: {found.threshold:g}, temperature: {found.temperature:g}" in outcome.stdout
    assert calibrate(toy.folder, data, homes=homes, most_wrong=1.0, rows=20).threshold == 0


def test_mistakes(toy: Any, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    good = json.dumps({"request": "a", "json": "b"}) + "\n"
    cases: list[tuple[str | None, str, str, dict[str, Any]]] = [
        (None, "CHM254", "cannot read", {}),
        (good, "CHM251", "1 rows are too few", {}),
        (good * 30 + "[]\n", "CHM252", "line 31", {}),
        (good * 30 + '{"request": 1, "json": 2}', "CHM252", "line 31", {}),
        (good + '{"request": "a", "json": 2, "home": 0}', "CHM252", "home 0 is none of 0", {}),
        (good * 30, "CHM252", "no JSON list of homes", {"homes": data}),
        (good * 30, "CHM254", "cannot read", {"homes": tmp_path / "none"}),
        (good * 30, "CHM420", "no part of all rows", {"most_wrong": 2.0}),
    ]
    for content, code, message, options in cases:
        data.unlink(missing_ok=True)
        if content is not None:
            data.write_text(content)
        with pytest.raises(UserError, match=message) as error:
            calibrate(toy.folder, data, **options)
        assert error.value.code == code
    data.write_bytes(b"\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        calibrate(toy.folder, data)
    data.write_text(good * 30)
    with pytest.raises(UserError) as error:
        calibrate(tmp_path, data)
    assert error.value.code == "CHM410"
