"""What requests mean that several templates have in common: "start X" is said to vacuum cleaners and to mowers.

The package's templates of a language overlap. A model that is taught both meanings of one form learns neither, and is
judged by a coin: of the forms that were drawn here, the meaning that came most often stands.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Final

from chimerac.frontends.training.recipes.home.templates import Package, Template
from chimerac.frontends.training.recipes.household.drawing import Command, Drawer
from chimerac.frontends.training.recipes.household.dwellings import Dwelling, NameSource, dwelling

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
        found: dict[str, Counter[str]] = {}
        for own in source.choices(templates, weights, k=draws):
            home = Dwelling((), ()) if source.random() < 0.5 else source.choice(homes)
            command = drawer.command(source.choice(own), home)
            if command is None:
                continue
            for form in _forms(command):
                found.setdefault(form, Counter())[command.meaning] += 1
        self._of_form = {form: max(sorted(meant), key=meant.__getitem__) for form, meant in found.items()}

    def agree(self, command: Command) -> bool:
        """Whether a command means what others of its form do."""
        return all(self._of_form.get(form, command.meaning) == command.meaning for form in _forms(command))


def _forms(command: Command) -> Iterator[str]:
    if command.form:
        yield command.form
    if command.told and command.told != command.form:
        yield command.told
