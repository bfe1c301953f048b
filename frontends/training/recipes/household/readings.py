"""What requests mean that several templates have in common: "start X" is said to vacuum cleaners and to mowers.

The package's templates of a language overlap. A model that is taught both meanings of one form learns neither, and is
judged by a coin: of the forms that were drawn here, the meaning that came most often stands. Where no home is told,
"the bedroom lights" may be what a thing is called, or a room and its lights: there the room stands.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Final

from chimerac.frontends.training.recipes.home.templates import Package, Template
from chimerac.frontends.training.recipes.household.drawing import Command, Drawer
from chimerac.frontends.training.recipes.household.dwellings import ROOM, Dwelling, NameSource, dwelling
from chimerac.frontends.training.recipes.household.phrases import UNSPACED

DRAWS: Final = 12_000  #: commands that are looked at, of a language
_HOMES: Final = 12
_THINGS: Final = 60


class Readings:
    """The one meaning of each form of a language.

    Args:
        names: of the language. draws: how many commands to look at.
    """

    def __init__(
        self, package: Package, language: str, names: NameSource, source: random.Random, draws: int = DRAWS
    ) -> None:
        drawer = Drawer(package, language, names, source)
        homes = [dwelling(names, source, _THINGS) for _ in range(_HOMES)]
        by_intent: dict[str, list[Template]] = {}
        for template in package.templates:
            by_intent.setdefault(template.intent, []).append(template)
        templates = list(by_intent.values())
        weights = [len(own) ** 0.5 for own in templates]
        found: dict[str, Counter[tuple[bool, str]]] = {}
        rooms: set[str] = set()
        for own in source.choices(templates, weights, k=draws):
            home = Dwelling((), ()) if source.random() < 0.5 else source.choice(homes)
            command = drawer.command(source.choice(own), home)
            if command is None:
                continue
            of_room = "area" in command.slots and "name" not in command.slots
            if of_room and command.told:
                rooms.add(command.told)
            for form in _forms(command):
                found.setdefault(form, Counter())[of_room, command.meaning] += 1
        self._of_form = {form: _meant(counts) for form, counts in found.items()}
        self._names, self._gap = names, "" if language in UNSPACED else " "
        self._of_rooms = "\n".join(f"{self._gap}{told}{self._gap}" for told in sorted(rooms))

    def agree(self, command: Command) -> bool:
        """Whether a command means what others of its form do."""
        if self._names_a_room(command):
            return False
        return all(self._of_form.get(form, command.meaning) == command.meaning for form in _forms(command))

    def _names_a_room(self, command: Command) -> bool:
        """Whether what is said of a thing, without a home, is said of rooms and what is in them, too."""
        if not command.told or "name" not in command.slots:
            return False
        said = self._names.unplaced(str(command.slots["name"]).lower())
        return ROOM in said and f"{self._gap}{said}{self._gap}" in self._of_rooms


def _meant(counts: Counter[tuple[bool, str]]) -> str:
    """Of meanings, each with whether it is of a room: the most frequent one, of a room if there are such."""
    return max(sorted(counts), key=lambda one: (one[0], counts[one]))[1]


def _forms(command: Command) -> Iterator[str]:
    if command.form:
        yield command.form
    if command.told and command.told != command.form:
        yield command.told
