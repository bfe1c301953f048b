"""Sentences with their JSON for training and for the three validation splits, each sentence once."""

from __future__ import annotations

import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

from chimerac.frontends.training.recipes.home import negatives
from chimerac.frontends.training.recipes.home.expand import COPIED_KINDS, Expander, Segment, shape_of
from chimerac.frontends.training.recipes.home.fresh import FreshNames
from chimerac.frontends.training.recipes.home.names import NameMaker, Vocabulary, vocabularies
from chimerac.frontends.training.recipes.home.paraphrases import paraphrases
from chimerac.frontends.training.recipes.home.split import held_out_templates
from chimerac.frontends.training.recipes.home.surface import json_text, slots_of_segments, vary
from chimerac.frontends.training.recipes.home.templates import Package, Template, load_package
from chimerac.frontends.training.recipes.home.vocabulary import Pool, make_pool
from chimerac.frontends.training.recipes.home.words import word_list

OUT_OF_DOMAIN_SHARE: Final = 0.1  #: of the training sentences
_TRIES: Final = 6  #: draws for each sentence wanted, before an intent is taken to have no more
_MOST_REPEATS: Final = 8  #: of a training row, where its intent has fewer than _FEWEST_ROWS
_FEWEST_ROWS: Final = 600
_PROBES: Final = 400  #: draws that tell intents of fixed phrases
_SEEN_SHARE: Final = 0.2  #: of an intent's fixed phrases that may go to ``valid_seen``
_FREE_TEXT: Final = 60  #: templates that an intent whose answer copies free text counts for, at least
_FREE_TEXT_INTENTS: Final = frozenset(
    word_list("""
        HassBroadcast HassListAddItem HassListCompleteItem HassListRemoveItem HassShoppingListAddItem
        HassShoppingListCompleteItem HassMediaSearchAndPlay
    """)
)
_COMMAND_INTENTS: Final = frozenset(
    word_list("HassTurnOn HassTurnOff HassLightSet HassSetPosition HassMediaPause HassVacuumStart HassFanSetSpeed")
)
_MARKS: Final = re.compile(r"[^\w %°.]|\.(?!\d)")
_LOOSE: Final = re.compile(r"\{(?!area|floor|timer|command)\w+\}")


@dataclass(frozen=True)
class Row:
    """A request: ``text``, the ``json`` it means, its ``intent``; ``shape`` is the text with kinds for values.

    ``structure`` tells the reading of a shape: intent, slots and closed values.
    """

    text: str
    json: str
    intent: str
    shape: str
    structure: str
    has_name: bool


class Source:
    """Draws rows of intents from some templates with one vocabulary, and with a pool mostly fresh names."""

    def __init__(
        self,
        package: Package,
        templates: Sequence[Template],
        vocabulary: Vocabulary,
        name: str,
        pool: Pool | None = None,
    ) -> None:
        self._random = random.Random(name)
        names = FreshNames(vocabulary, self._random, pool) if pool else NameMaker(vocabulary, self._random)
        commands = [template for template in templates if template.intent in _COMMAND_INTENTS]
        self._expander = Expander(package.lists, names, self._random, commands)
        self._groups: dict[str, list[list[Template]]] = {}
        groups: dict[str, list[Template]] = {}
        for template in templates:
            groups.setdefault(template.group, []).append(template)
        for group in groups.values():
            self._groups.setdefault(group[0].intent, []).append(group)

    @property
    def intents(self) -> list[str]:
        """The intents that the templates have."""
        return list(self._groups)

    def size(self, intent: str) -> int:
        """Templates of an intent."""
        return sum(map(len, self._groups[intent]))

    def draw(self, intent: str) -> Row | None:
        """One row; a group of templates is drawn first, with the square root of its size as weight."""
        groups = self._groups[intent]
        weights = [len(group) ** 0.5 for group in groups]
        group = self._random.choices(groups, weights)[0]
        template = group[int(self._random.random() * len(group))]
        segments = self._expander.sample(template)
        return _row(template, segments, vary(segments, self._random)) if segments else None


def _row(template: Template, plain: list[Segment], varied: list[Segment]) -> Row:
    refused = template.intent == negatives.INTENT
    slots: dict[str, Any] = {} if refused else slots_of_segments(varied, template.fixed)
    kinds = {segment.slot: segment.kind for segment in plain if segment.slot and segment.value is None}
    structure = {name: f"{{{kinds[name]}}}" if name in kinds else value for name, value in slots.items()}
    numbers = {segment.slot for segment in plain if segment.kind == "number"}
    structure = {name: "#" if name in numbers else value for name, value in structure.items()}
    return Row(
        "".join(segment.text for segment in varied),
        json_text(template.intent, slots),
        template.intent,
        shape_of(plain),
        json_text(template.intent, {} if refused else structure),
        any(segment.kind in COPIED_KINDS for segment in plain),
    )


def loose(shape: str) -> str:
    """A shape with one kind for all names of things, to tell sentences that differ by a device's sort only."""
    return _LOOSE.sub("{name}", shape).replace("{marked_area}", "{area}")


def _key(text: str) -> str:
    """What two texts share that differ in casing and punctuation only."""
    return _MARKS.sub("", text.lower())


def _fill(source: Source, intent: str, wanted: int, taken: set[str], good: Callable[[Row], bool]) -> list[Row]:
    """Up to ``wanted`` rows whose words nobody has taken; takes them."""
    rows: list[Row] = []
    for _ in range(_TRIES * wanted + 200):
        if len(rows) >= wanted:
            break
        row = source.draw(intent)
        if row is None or not good(row):
            continue
        key = _key(row.text)
        if key not in taken:
            taken.add(key)
            rows.append(row)
    return rows


def _fill_training(source: Source, intent: str, wanted: int, taken: Set[str]) -> list[Row]:
    """Up to ``wanted`` rows, whose words no validation row has in any casing.

    All texts are different, except in intents of fixed phrases: their rows come several times, to be learnt.
    """
    rows: dict[str, Row] = {}
    for _ in range(_TRIES * wanted):
        if len(rows) >= wanted:
            break
        row = source.draw(intent)
        if row and row.text not in rows and _key(row.text) not in taken:
            rows[row.text] = row
    return (list(rows.values()) * _MOST_REPEATS)[: min(wanted, max(len(rows), _FEWEST_ROWS))]


def _fixed_phrases(source: Source, intent: str) -> int:
    """Different sentences of an intent that has few, or a large number."""
    found = {_key(row.text) for _ in range(_PROBES) if (row := source.draw(intent))}
    return len(found) if len(found) < _PROBES // 2 else sys.maxsize


def _stratified(
    source: Source, count: int, taken: set[str], good: Callable[[Row], bool], share_taken: float = 1.0
) -> list[Row]:
    """``count`` rows, as evenly over the intents as they have different sentences.

    Of an intent of fixed phrases at most ``share_taken`` of the sentences are taken.
    """
    rows: dict[str, list[Row]] = {intent: [] for intent in source.intents}
    most = dict.fromkeys(rows, sys.maxsize)
    if share_taken < 1:
        most = {intent: int(share_taken * _fixed_phrases(source, intent)) for intent in rows}
    open_intents = list(rows)
    while open_intents and (missing := count - sum(map(len, rows.values()))) > 0:
        share = max(1, missing // len(open_intents))
        for intent in list(open_intents)[: missing if share == 1 else None]:
            found = _fill(source, intent, min(share, most[intent] - len(rows[intent])), taken, good)
            rows[intent] += found
            if len(found) < share:
                open_intents.remove(intent)
    return [row for intent in rows for row in rows[intent]][:count]


@dataclass(frozen=True)
class Splits:
    """Training rows in random order, validation rows by intent, and the ids of the templates held out.

    ``templates`` are those of the package and of refusals, ``own`` our paraphrases of them; ``pool`` is what the
    names of training are made of.
    """

    train: list[Row]
    valid_names: list[Row]
    valid_templates: list[Row]
    valid_seen: list[Row]
    held_out: frozenset[str]
    templates: tuple[Template, ...]
    own: tuple[Template, ...]
    pool: Pool
    ambiguous: int


def make_splits(
    sentences: int,
    validation: int,
    seed: int,
    documents: Sequence[str],
    words: Sequence[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Splits:
    """``sentences`` rows to train with and ``validation`` rows for each split (fewer where there are no more).

    Names of training are made of ``words`` and of phrases of ``documents``, names of validation of our own lists.
    Shapes that training and a held-out template share aren't in ``valid_templates``. A shape with several readings
    ("all fans on") keeps the most common one.
    """
    package, refusals = load_package(), negatives.out_of_domain()
    templates, own = (*package.templates, *refusals.templates), paraphrases(package)
    merged = Package(templates, {**package.lists, **refusals.lists}, package.rules)
    held = held_out_templates(templates, seed)
    seen_templates = [template for template in templates if template.id not in held]
    seen, unseen = vocabularies(seed)
    pool = make_pool(words, documents, package, seen, unseen)
    taken: set[str] = set()

    valid_seen = _stratified(Source(merged, seen_templates, seen, f"{seed} seen"), validation, taken, _any, _SEEN_SHARE)
    names = _stratified(
        Source(merged, seen_templates, unseen, f"{seed} names"), validation, taken, lambda row: row.has_name
    )
    progress(f"drew {len(valid_seen)} + {len(names)} validation sentences of training templates")

    source = Source(merged, [*seen_templates, *own], seen, f"{seed} train", pool)
    train = [
        row for intent, wanted in quotas(source, sentences) for row in _fill_training(source, intent, wanted, taken)
    ]
    progress(f"drew {len(train)} training sentences")
    train_shapes = {loose(row.shape) for row in train}
    # A command inside of "in five minutes …" may be of any template, so it needs training templates of its own.
    held_source = Source(merged, [template for template in templates if template.id in held], seen, f"{seed} templates")
    held_rows = _stratified(held_source, validation, taken, lambda row: loose(row.shape) not in train_shapes)

    readings = _readings([*train, *valid_seen, *names, *held_rows])
    kept = [
        [row for row in rows if readings[row.shape] == row.structure] for rows in (train, names, held_rows, valid_seen)
    ]
    random.Random(f"{seed} order").shuffle(kept[0])
    dropped = sum(map(len, (train, names, held_rows, valid_seen))) - sum(map(len, kept))
    return Splits(kept[0], kept[1], kept[2], kept[3], held, templates, own, pool, dropped)


def _any(row: Row) -> bool:
    return True


def quotas(source: Source, sentences: int) -> Iterator[tuple[str, int]]:
    """(intent, sentences): with the square root of an intent's templates as weight; refusals have a fixed share."""
    inside = [intent for intent in source.intents if intent != negatives.INTENT]
    fewest = {intent: _FREE_TEXT if intent in _FREE_TEXT_INTENTS else 0 for intent in inside}
    weights = {intent: max(source.size(intent), fewest[intent]) ** 0.5 for intent in inside}
    whole = sum(weights.values())
    for intent in inside:
        yield intent, max(1, round(sentences * (1 - OUT_OF_DOMAIN_SHARE) * weights[intent] / whole))
    yield negatives.INTENT, max(1, round(sentences * OUT_OF_DOMAIN_SHARE))


def _readings(rows: Sequence[Row]) -> dict[str, str]:
    """Shape → its most common structure, the first by name of equals."""
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        counts.setdefault(row.shape, Counter())[row.structure] += 1
    return {shape: min(found, key=lambda structure: (-found[structure], structure)) for shape, found in counts.items()}
