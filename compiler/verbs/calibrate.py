"""``chimerac calibrate``: from which probability on a bundle's answers are right often enough to be given."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from chimerac.compiler.errors import UserError, as_user_error
from chimerac.compiler.texts import MOST_HOMES, MOST_TEXT, json_of, read_text
from chimerac.compiler.verbs.bundles import open_bundle
from chimerac.runtime.errors import BundleError
from chimerac.runtime.sessions.interface import Session

#: Intents of answers that do nothing.
HARMLESS: Final = ("OutOfDomain", "NoSuchDevice", "AmbiguousDevice")
RIGHT, WRONG_ACTION, WRONG_SLOTS, NOTHING_DONE = "right", "wrong action", "wrong slots", "wrongly nothing done"
_TEMPERATURES: Final = tuple(2 ** (step / 16) for step in range(-64, 129))
_LEAST_ROWS: Final = 20
_MAX_TOKENS: Final = 160


@dataclass(frozen=True)
class Judged:
    """An answer to a row: its score (``Session.score``), and RIGHT, WRONG_ACTION, WRONG_SLOTS or NOTHING_DONE."""

    score: float
    verdict: str


@dataclass(frozen=True)
class Shares:
    """What comes of some rows, in parts of all of them; what is refused is none of the first three."""

    rows: int
    right: float
    wrong_actions: float
    wrong_slots: float
    lost: float  #: right answers that are refused

    def __str__(self) -> str:
        given = f"{self.right:.2%} right, {self.wrong_actions:.2%} wrong actions, {self.wrong_slots:.2%} wrong slots"
        return f"{given}, {self.lost:.2%} right but refused"


@dataclass(frozen=True)
class Calibration:
    """What ``calibrate`` finds.

    Attributes:
        temperature, threshold: of a config's ``grammar.refusal``.
        before: all rows, with nothing refused.
        chosen: the rows that the two numbers are from.
        checked: the others, refused by them.
    """

    temperature: float
    threshold: float
    before: Shares
    chosen: Shares
    checked: Shares

    def lines(self) -> Iterator[str]:
        """The same for people."""
        yield f"{self.before.rows:,} rows, nothing refused: {self.before}"
        numbers = f"threshold: {self.threshold:g}, temperature: {self.temperature:g}"
        yield f"{numbers}, from {self.chosen.rows:,} of them: {self.chosen}"
        yield f"the other {self.checked.rows:,}: {self.checked}"
        yield f"in the config: grammar: {{refusal: {{{numbers}}}}}"


def calibrate(
    bundle: str | Path,
    data: str | Path,
    *,
    homes: str | Path | None = None,
    most_wrong: float = 0.005,
    harmless: Collection[str] = HARMLESS,
    rows: int | None = None,
    threads: int = 1,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Calibration:
    """Answer held-out requests, and choose which answers the bundle should refuse.

    The temperature is the one at which ``exp(score / temperature)`` has the least log loss as the probability that an
    answer is right (temperature scaling, arXiv 1706.04599), the threshold the lowest with at most ``most_wrong`` wrong
    actions. Both are from every second row; the others tell what they are worth.

    Args:
        bundle: folder of a bundle that has a default grammar.
        data: file with a JSON object a line: ``request``, a text; ``json``, the right answer, as JSON or its text;
            ``home``, the number of one of ``homes``, or -1. None of them may be of the training.
        homes: JSON file with a list of what ``Session.set_names`` takes.
        most_wrong: wrong actions, in parts of all rows.
        harmless: intents of answers that do nothing, and so are no wrong actions.
        rows: take this many at most.
        threads: share the work; 0 takes one per core, at most 8.
        tell: is told how many rows are done, of how many.

    Raises:
        UserError: CHM254 for files that cannot be read, CHM252 for rows that are none, CHM251 for fewer than 20,
            CHM420 for numbers out of range, CHM4xx for a bundle that does not open or has no text.
    """
    if not 0 <= most_wrong <= 1:
        raise UserError("CHM420", f"{most_wrong} wrong actions are no part of all rows, 0 to 1")
    told = [] if homes is None else _read_homes(Path(homes))
    given = _read_rows(Path(data), len(told))[:rows]
    if len(given) < _LEAST_ROWS:
        raise UserError("CHM251", f"{len(given)} rows are too few; {_LEAST_ROWS} are needed", hint="give more rows")
    with open_bundle(bundle, threads) as session:
        try:
            judged = list(_judged(session, given, told, harmless, tell))
        except BundleError as error:
            raise as_user_error(error) from None
    return chosen_from(judged, most_wrong)


def chosen_from(judged: Sequence[Judged], most_wrong: float) -> Calibration:
    """Temperature and threshold from every second answer, checked with the others."""
    own, others = judged[::2], judged[1::2]
    temperature = float(f"{fitted(own):.4g}")
    threshold = lowest_threshold(own, temperature, most_wrong)
    return Calibration(
        temperature,
        threshold,
        shares(judged, temperature, 0.0),
        shares(own, temperature, threshold),
        shares(others, temperature, threshold),
    )


def fitted(judged: Sequence[Judged]) -> float:
    """The temperature with the least log loss of ``exp(score / temperature)`` as the probability of a right answer."""

    def loss(temperature: float) -> float:
        total = 0.0
        for one in judged:
            chance = min(max(math.exp(one.score / temperature), 1e-6), 1 - 1e-6)
            total -= math.log(chance if one.verdict == RIGHT else 1 - chance)
        return total

    return min(_TEMPERATURES, key=loss)


def lowest_threshold(judged: Sequence[Judged], temperature: float, most_wrong: float) -> float:
    """The lowest probability, rounded up to four digits, from which on at most so many are wrong actions; else 1."""
    room = most_wrong * len(judged)
    wrong, least = 0, 0.0
    ranked = sorted(judged, key=lambda one: -one.score)
    for score, ties in groupby(ranked, key=lambda one: one.score):
        wrong += sum(one.verdict == WRONG_ACTION for one in ties)
        if wrong > room:
            least = math.exp(score / temperature)  # these must go, so what is kept lies above
            return min(1.0, math.floor(least * 10_000 + 1) / 10_000)
    return least


def shares(judged: Sequence[Judged], temperature: float, threshold: float) -> Shares:
    """What comes of answers of which those below a threshold are refused."""
    kept = Counter(one.verdict for one in judged if math.exp(one.score / temperature) >= threshold)
    right = sum(one.verdict == RIGHT for one in judged)
    parts = (kept[RIGHT], kept[WRONG_ACTION], kept[WRONG_SLOTS], right - kept[RIGHT])
    return Shares(len(judged), *(part / len(judged) for part in parts))


def verdict(expected: Any, given: Any, harmless: Collection[str]) -> str:
    """What an answer is worth, both as JSON values: actions ``{"intent": …}``, or lists of them, or anything else."""
    if given == expected:
        return RIGHT
    wanted, found = _intents(expected), _intents(given)
    if found is None:
        return WRONG_ACTION
    if all(name in harmless for name in found):
        return NOTHING_DONE
    return WRONG_SLOTS if found == wanted else WRONG_ACTION


def _intents(answer: Any) -> list[str] | None:
    actions = answer if isinstance(answer, list) and answer else [answer]
    names = [one.get("intent") if isinstance(one, dict) else None for one in actions]
    return [name for name in names if isinstance(name, str)] if all(isinstance(n, str) for n in names) else None


def _judged(
    session: Session,
    rows: Sequence[dict[str, Any]],
    homes: Sequence[Any],
    harmless: Collection[str],
    tell: Callable[[int, int], None],
) -> Iterator[Judged]:
    """Rows of one home after the other, whose names are then run once; every second row is of every home."""
    ordered = sorted(rows, key=lambda row: int(row["home"]))
    for done, row in enumerate(ordered, 1):
        if done == 1 or row["home"] != ordered[done - 2]["home"]:
            session.set_names(homes[row["home"]] if row["home"] >= 0 else None)
        steps = session.generate(row["request"], score=True, refuse=False, max_tokens=_MAX_TOKENS, temperature=0.0)
        text = "".join(map(str, steps))
        assert session.score is not None
        yield Judged(session.score, verdict(row["json"], _value(text), harmless))
        tell(done, len(ordered))


def _value(text: str) -> Any:
    """A text as JSON where it is some."""
    try:
        return json_of(text)
    except ValueError:
        return text


def _read_rows(path: Path, homes: int) -> list[dict[str, Any]]:
    lines = read_text(path, "the rows", "CHM254", MOST_TEXT).splitlines()
    return [_row(path, number, line, homes) for number, line in enumerate(lines, 1) if line.strip()]


def _row(path: Path, number: int, line: str, homes: int) -> dict[str, Any]:
    row = _value(line)
    if not isinstance(row, dict) or not isinstance(row.get("request"), str) or "json" not in row:
        raise UserError("CHM252", f"{path}, line {number}: it is no object with a request and its json")
    home = row.get("home", -1)
    if type(home) is not int or not -1 <= home < homes:
        what = f"{path}, line {number}: home {home} is none of {homes}"
        raise UserError("CHM252", what, hint="give the file of the homes with --homes")
    right = _value(row["json"]) if isinstance(row["json"], str) else row["json"]
    return {"request": row["request"], "json": right, "home": home}


def _read_homes(path: Path) -> list[Any]:
    found = _value(read_text(path, "the homes", "CHM254", MOST_HOMES))
    if not isinstance(found, list):
        raise UserError("CHM252", f"{path} is no JSON list of homes")
    return found
