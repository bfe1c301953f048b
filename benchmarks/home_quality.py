"""How a household bundle and hassil answer the same requests with the same names: what is right, and what goes wrong.

python benchmarks/home_quality.py dist/household.x86_64-avx2 DATA --rows 500

DATA is a folder of ``recipes.household.make_data``. hassil is the matcher of Home Assistant, strict: it knows the
templates, the held-out ones too, and the names of the home as lists. Answers are counted as exact, wrong actions, wrong
refusals and wrong slots (``judging.py``), by split, names, kind, noise and language. The refusals of the bundle are
calibrated on ``valid_seen`` and then measured on the others.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from hassil import Intents, recognize_best
from hassil.intents import TextSlotList, WildcardSlotList

from chimerac.compiler.verbs.calibrate import NOTHING_DONE, RIGHT, Judged, fitted, lowest_threshold, shares
from chimerac.frontends.training.recipes.home.surface import json_text
from chimerac.frontends.training.recipes.household.drawing import REFUSED
from chimerac.frontends.training.recipes.household.judging import EXACT, WRONG_ACTION, WRONG_SLOTS, Tally, verdict
from chimerac.frontends.training.recipes.household.lexicon import LEXICONS
from chimerac.frontends.training.recipes.household.requests import tidied
from chimerac.runtime.sessions.interface import Session
from chimerac.runtime.sessions.loading import load

SPLITS = ("seen", "templates", "names", "noise")
MOST_TOKENS = 160
MOST_WRONG = 0.005  #: wrong actions that a threshold is to leave
JUDGED = {EXACT: RIGHT, WRONG_ACTION: WRONG_ACTION, WRONG_SLOTS: WRONG_SLOTS}


def read_rows(path: Path, most: int, languages: tuple[str, ...], *, named: bool) -> list[dict[str, Any]]:
    """Rows of a validation file, those of one home next to each other; ``named``: with the names of homes, too."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    rows = [row for row in rows if (not languages or row["language"] in languages) and (named or row["home"] < 0)]
    return sorted(rows[:most], key=lambda row: int(row["home"]))


def bundle_answers(
    session: Session, rows: list[dict[str, Any]], homes: list[Any]
) -> Iterator[tuple[str, float, float]]:
    """Each answer, its log probability under the grammar, and the seconds it took."""
    told = None
    for row in rows:
        if row["home"] != told:
            session.set_names(homes[row["home"]] if row["home"] >= 0 else None)
            told = row["home"]
        begun = time.perf_counter()
        steps = session.generate(row["request"], max_tokens=MOST_TOKENS, score=True, refuse=False)
        text, score = "".join(map(str, steps)), session.score
        assert score is not None
        yield text, score, time.perf_counter() - begun


@functools.cache
def intents_of(language: str) -> Intents:
    """The package's intents of a language, for hassil."""
    file = importlib.resources.files("home_assistant_intents") / "data" / f"{language}.json"
    return Intents.from_dict(json.loads(file.read_text(encoding="utf-8")))


def hassil_answer(row: dict[str, Any], home: dict[str, Any] | None) -> str:
    """What hassil's strict matcher makes of a request, spaces and quotes made plain; names as the home has them."""
    intents = intents_of(row["language"])
    lists: dict[str, Any] = {"name": WildcardSlotList("name"), "area": WildcardSlotList("area")}
    if home is not None:
        names = [
            (said, one["name"], {"domain": one["domain"]})
            for one in home["entities"]
            for said in (one["name"], *one.get("aliases", ()))
        ]
        areas = [(said, one["name"]) for one in home["areas"] for said in (one["name"], *one.get("aliases", ()))]
        lists = {"name": TextSlotList.from_tuples(names), "area": TextSlotList.from_tuples(areas)}
    floors: list[Any] = (home or {}).get("floors") or [{"name": name} for name in LEXICONS[row["language"]].floors]
    said_floors = [(said, one["name"]) for one in floors for said in (one["name"], *one.get("aliases", ()))]
    lists["floor"] = TextSlotList.from_tuples(said_floors)
    found = recognize_best(tidied(row["request"]), intents, slot_lists=lists, language=row["language"])
    if found is None:
        return json_text(REFUSED, {})
    return json_text(found.intent.name, {name: entity.value for name, entity in found.entities.items()})


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--rows", default=500, show_default=True, help="Rows of each split.")
@click.option("--language", multiple=True, help="Only these languages.")
@click.option("--no-names", is_flag=True, help="Only rows without the names of a home.")
def main(bundle: Path, data: Path, rows: int, language: tuple[str, ...], no_names: bool) -> None:
    """Judge BUNDLE and hassil on the validation rows of DATA."""
    homes = json.loads((data / "homes.json").read_text("utf-8"))
    ours, theirs = Tally(), Tally()
    temperature, times = 1.0, list[float]()
    with load(bundle) as session:
        for split in SPLITS:
            kept = read_rows(data / f"valid_{split}.jsonl", rows, language, named=not no_names)
            scored, both = [], {"only ours": 0, "only hassil": 0, "both": 0}
            for row, (answer, chance, seconds) in zip(kept, bundle_answers(session, kept, homes), strict=True):
                found = verdict(row["json"], answer)
                home = homes[row["home"]] if row["home"] >= 0 else None
                other = verdict(row["json"], hassil_answer(row, home))
                ours.add(row, split, found)
                theirs.add(row, split, other)
                scored.append(Judged(chance, JUDGED.get(found, NOTHING_DONE)))
                times.append(seconds)
                if EXACT in (found, other):
                    both["both" if found == other else "only ours" if found == EXACT else "only hassil"] += 1
            if split == "seen":
                temperature = fitted(scored)
            least = lowest_threshold(scored, temperature, MOST_WRONG)
            click.echo(
                f"{split}: {len(kept)} rows; exact by {both}; from {least} on {shares(scored, temperature, least)}"
            )
    click.echo(f"temperature {temperature:.2f}; an answer takes {np.median(times) * 1e3:.0f} ms with its score")
    click.echo(f"\n{bundle.name}\n{ours.table()}\n\nhassil, strict\n{theirs.table()}")


if __name__ == "__main__":
    main()
