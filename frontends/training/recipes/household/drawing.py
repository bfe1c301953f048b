"""One command of a template in any language, with the things of a home: its text, and what it means."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chimerac.frontends.training.recipes.home import words as w
from chimerac.frontends.training.recipes.home.surface import json_text
from chimerac.frontends.training.recipes.home.templates import (
    Choice,
    Node,
    Package,
    Parts,
    Slot,
    Template,
    Text,
    parse_template,
    slots_of,
)
from chimerac.frontends.training.recipes.household.clarity import says_more, touch
from chimerac.frontends.training.recipes.household.dwellings import (
    Dwelling,
    NameSource,
    Thing,
    area_counts,
    known_names,
    of_domain,
)
from chimerac.frontends.training.recipes.household.items import ITEMS
from chimerac.frontends.training.recipes.household.quantities import Quantities

#: What is answered where a request is no command, names nothing that there is, or more than one thing.
REFUSED: Final = "OutOfDomain"
NO_DEVICE: Final = "NoSuchDevice"
AMBIGUOUS: Final = "AmbiguousDevice"
#: Slots that hold names and other words, whatever a language has listed.
OPEN: Final = frozenset({"name", "area", "floor", "message", "item", "search_query", "conversation_command", "zone"})
_COPIES: Final = {"name": "names", "area": "areas", "floor": "floors"}
_NUMBER: Final = re.compile(r"\d[\d.]*")
_LIGHT: Final = (
    "light_name"  #: of templates where "light" follows the name: the name is a light's (recipes/home/templates.py)
)
_OPTIONAL: Final = 0.4
_TELLING: Final = 0.9  #: of the names of things without a home; those of areas always tell what they are
_LISTED: Final = {
    "message": w.MESSAGES,
    "timer_name": w.TIMERS,
    "shopping_list_item": (*w.FOODS, *w.GOODS),
    "todo_list_item": (*w.CHORES, *w.FOODS, *w.GOODS),
    "zone": (*w.ZONES, *w.ZONE_HEADS),
    "search_query": (*w.GENRES, *w.TITLE_WORDS, *w.PEOPLE),
    "person": w.PEOPLE,
    "place": w.PLACES,
    "food": w.FOODS,
    "noun": w.NOUNS,
    "adjective": w.ADJECTIVES,
}
_OUTSIDE: Final = 0.16  #: share of commands to a home that name a thing or an area which it has not
_TELLING_TEXT: Final = 0.3  #: of the open words
_LONGER: Final = 0.5  #: of names like one of the home: that with another word behind it, "garage door light"
_LIGHTS: Final = 0.4  #: of these, where any kind of thing may be meant
_NEAR: Final = 0.35  #: of these names: one of the home with another word in the place of one of its words


@dataclass(frozen=True)
class Command:
    """A request and its meaning.

    Attributes:
        free: the answer copies words of the request. template: id of its template.
        parts: the request in pieces, and whether each is a value rather than words of the template.
        form: the request with marks in place of names, numbers and open words; meaning: its answer with such marks.
            Two commands of one form and different meanings can't be told apart.
        told: without a home, the request with marks in place of rooms and numbers only: "{areas} fan" is a fan's name,
            or that of a room and a word for its fans.
    """

    text: str
    intent: str
    slots: Mapping[str, Any]
    template: str
    free: bool = False
    parts: tuple[tuple[str, bool], ...] = ()
    form: str = ""
    meaning: str = ""
    told: str = ""

    @property
    def json(self) -> str:
        """The answer."""
        return json_text(self.intent, self.slots)


class Drawer:
    """Draws commands of the templates of a language."""

    def __init__(self, package: Package, language: str, names: NameSource, source: random.Random) -> None:
        self._package, self._language, self._names, self._random = package, language, names, source
        self._closed: dict[str, list[tuple[Node, Any]]] = {}
        self.quantities = Quantities(language, source)
        self._plain = [one for one in package.templates if not any(slots_of(one.tree))]

    def command(self, template: Template, home: Dwelling, *, beyond: bool = False) -> Command | None:
        """A sentence of a template, or None where it cannot be told of the home.

        Args:
            beyond: with numbers that are too large for what they are said of, which is refused.
        """
        draft = _Draft(self, template, home, beyond=beyond)
        draft.walk(template.tree)
        text = _spaced(draft.texts)
        if not text or draft.failed or len(text.encode()) > 300 or touch(draft.texts, draft.marks, home):
            return None
        if says_more(text, draft.said, home, self._language):
            return None
        parts = tuple(zip(draft.texts, (bool(mark) for mark in draft.marks), strict=True))
        if beyond:
            if draft.outside or "{number}" not in draft.marks:
                return None
            return Command(text, REFUSED, {}, template.id, parts=parts)
        if draft.outside:
            return Command(text, NO_DEVICE, {}, template.id, parts=parts)
        slots = {**template.fixed, **draft.slots}
        thing = draft.thing
        if thing is not None and area_counts(home)[thing.name] > 1 and "area" not in slots:
            return Command(text, AMBIGUOUS, {"name": thing.name}, template.id, parts=parts)
        form = _spaced([mark or said for said, mark in zip(draft.texts, draft.marks, strict=True)]).lower()
        meaning = json_text(template.intent, {**slots, **dict.fromkeys(draft.marked, "")})
        told = self._names.unplaced(_NUMBER.sub("{number}", text.lower())) if not home.things else ""
        return Command(text, template.intent, slots, template.id, draft.free, parts, form, meaning, told)

    def closed(self, name: str) -> list[tuple[Node, Any]]:
        """The values of a list of the package."""
        if name not in self._closed:
            rows = self._package.lists[name]["values"]
            pairs = [(row, row) if isinstance(row, str) else (row["in"], row["out"]) for row in rows]
            self._closed[name] = [(parse_template(said, self._package.rules), meant) for said, meant in pairs]
        return self._closed[name]

    def instead(self, command: Command, home: Dwelling) -> tuple[str, Mapping[str, Any]] | None:
        """Another thing or area of the home for a command's own, as it is said, and the slots with it, if one fits."""
        slots = command.slots
        said: str | None = None
        if "name" in slots and "area" not in slots and "floor" not in slots:
            own = next((one for one in home.things if one.name == slots["name"]), None)
            others = [one for one in home.things if own and one.domain == own.domain and one.name != own.name]
            others = [one for one in others if area_counts(home)[one.name] == 1]
            if others:
                thing = self._random.choice(others)
                said, slots = self.said(thing.name, thing.aliases), {**slots, "name": thing.name}
        elif "area" in slots and "name" not in slots:
            places = [place for place in home.areas if place[0] != slots["area"]]
            if places:
                area, aliases = self._random.choice(places)
                said, slots = self.said(area, aliases), {**slots, "area": area}
        if said is None or said.lower() in command.text.lower():
            return None
        article = "the " if self._language == "en" and "'" not in said and self._random.random() < 0.6 else ""
        return article + said, slots

    def said(self, name: str, aliases: Sequence[str]) -> str:
        """A name or another one of the same, in small letters mostly."""
        said = self._random.choice(aliases) if aliases and self._random.random() < 0.35 else name
        return said.lower() if self._random.random() < 0.65 else said

    def limits(self, name: str) -> Mapping[str, Any] | None:
        """The range of a list, if it is one."""
        found: Mapping[str, Any] | None = self._package.lists[name].get("range")
        return found

    @property
    def package(self) -> Package:
        """Where the templates come from."""
        return self._package

    @property
    def random(self) -> random.Random:
        """Where draws come from."""
        return self._random

    @property
    def names(self) -> NameSource:
        """Where names come from that nothing in the home has."""
        return self._names

    @property
    def language(self) -> str:
        """Of the sentences."""
        return self._language

    def plain_command(self) -> str:
        """The text of another command, of one of the templates without names."""
        while True:
            made = self.command(self._random.choice(self._plain), Dwelling((), ()))
            if made is not None:
                return made.text


class _Draft:
    """A sentence that is being drawn."""

    def __init__(self, drawer: Drawer, template: Template, home: Dwelling, *, beyond: bool) -> None:
        self._drawer, self._template, self._home, self._random = drawer, template, home, drawer.random
        self._beyond = beyond
        self.texts: list[str] = []
        self.marks: list[str] = []  #: of each text; "" for words of the template and of fixed values
        self.marked: set[str] = set()  #: slots whose values are no fixed ones
        self.slots: dict[str, Any] = {}
        self.said: list[str] = []  #: names and other words that are copied
        self.thing: Thing | None = None
        self.failed = self.outside = self.free = False

    def walk(self, node: Node) -> None:
        match node:
            case Text(text):
                self._say(text)
            case Slot(list_name, slot):
                self._fill(list_name, slot)
            case Choice(items, optional):
                if optional and self._random.random() >= _OPTIONAL:
                    return
                self.walk(items[self._random.randrange(len(items) - optional or 1)])
            case Parts(items, shuffled):
                for item in self._random.sample(items, len(items)) if shuffled else items:
                    self.walk(item)

    def _say(self, text: str, mark: str = "") -> None:
        self.texts.append(text)
        self.marks.append(mark)

    def _fill(self, list_name: str, slot: str) -> None:
        value: Any
        copied = copied_from(self._drawer.package, slot, list_name)
        mark = f"{{{copied}}}"
        if copied == "names":
            said, value, mark = self._thing(("light",) if list_name == _LIGHT else ())
        elif copied == "areas":
            said, value = self._area()
        elif copied == "floors":
            said, value = self._floor()
        elif copied:
            said = value = self._free_text(list_name)
            slot = open_slot(slot, list_name)
        elif limits := self._drawer.limits(list_name):
            (said, value), mark = self._drawer.quantities.number(limits, beyond=self._beyond), "{number}"
        else:
            said, value, mark = *self._listed(list_name), ""
        self._say(said, mark)
        self.slots[slot] = value
        if mark:
            self.marked.add(slot)
        if copied:
            self.said.append(said.lower())

    def _listed(self, list_name: str) -> tuple[str, Any]:
        """A fixed value of a list, as it is said and as it is meant."""
        node, value = self._random.choice(self._drawer.closed(list_name))
        before = len(self.texts)
        self.walk(node)
        said = " ".join("".join(self.texts[before:]).split())
        del self.texts[before:], self.marks[before:]
        return said, value

    def _thing(self, domains: Sequence[str]) -> tuple[str, str, str]:
        """What a thing is called here, its name, and the mark of its kind."""
        domains = domains or self._template.domains
        fitting = of_domain(self._home, domains)
        area = self.slots.get("area")
        fitting = [one for one in fitting if area is None or one.area == area]
        if not self._home.things:
            self.free = True
            kind = self._random.choice(domains or ("",))
            tells = self._random.random() < _TELLING
            said = self._drawer.names.name(kind, telling=float(tells))
            return said, said, f"{{{kind if tells and self._drawer.names.tells(kind) else 'names'}}}"
        if not fitting or self._random.random() < _OUTSIDE:
            self.failed |= self._random.random() > _OUTSIDE and not fitting
            return self._outside(self._random.choice(domains or ("",))), "", "{names}"
        self.thing = self._random.choice(fitting)
        return self._drawer.said(self.thing.name, self.thing.aliases), self.thing.name, f"{{{self.thing.domain}}}"

    def _outside(self, kind: str) -> str:
        """A name of nothing in the home; often like one of something there."""
        self.outside = True
        known = known_names(self._home)
        said = self._drawer.names.name(kind)
        if self._random.random() < _NEAR:
            own = [one.name for one in self._home.things] if kind != "area" else [name for name, _ in self._home.areas]
            words = self._random.choice(own).split(" ") if own else []
            other = self._drawer.names.word()
            ends = [one.name for one in self._home.things if one.domain != "light"] if kind != "area" else []
            if ends and self._random.random() < _LONGER:
                head = kind or ("light" if self._random.random() < _LIGHTS else "")
                said = f"{self._random.choice(ends)} {self._drawer.names.head(head)}"
            elif len(words) > 1 and not any(other in name for name in known):
                words[self._random.randrange(len(words))] = other
                said = " ".join(words)
        self.failed |= said.lower() in known
        return said

    def _area(self) -> tuple[str, str]:
        if not self._home.areas:
            self.free = True
            said = self._drawer.names.name("area", telling=1.0)
            return said, said
        if self.thing is None and "Timer" not in self._template.intent and self._random.random() < _OUTSIDE:
            return self._outside("area"), ""  # what is said of a timer and is no area is the timer's name
        if self.thing is not None and self.thing.area:
            name = self.thing.area
            aliases = dict(self._home.areas).get(name, ())
        else:
            name, aliases = self._random.choice(self._home.areas)
            self.failed |= self.thing is not None
        return self._drawer.said(name, aliases), name

    def _floor(self) -> tuple[str, str]:
        word = self._drawer.names.floor()
        if not self._home.floors:
            self.free = True
            return word, word
        if self._random.random() < _OUTSIDE and word.lower() not in known_names(self._home):
            self.outside = True
            return word, ""
        name, aliases = self._random.choice(self._home.floors)
        return self._drawer.said(name, aliases), name

    def _free_text(self, list_name: str) -> str:
        self.free = True
        names, source = self._drawer.names, self._random
        if list_name == "timer_command" and source.random() < 0.7:
            return self._drawer.plain_command()
        if self._drawer.language == "en" and source.random() < 0.6:
            listed = names.listed(_LISTED.get(list_name, w.NOUNS))
            if listed is not None:
                amount = f"{source.choice(w.AMOUNTS)} " if "item" in list_name and source.random() < 0.3 else ""
                return amount + listed
        if "item" in list_name and source.random() < 0.6:
            found = names.listed(ITEMS.get(self._drawer.language, w.GOODS))
            if found is not None:
                return found
        telling = 0.0 if list_name == "timer_name" else _TELLING_TEXT  # "the kitchen timer" is that of an area
        return " ".join(names.name(telling=telling) for _ in range(source.choice((1, 1, 2, 3))))


def _spaced(texts: Iterable[str]) -> str:
    return re.sub(r"\s+", " ", "".join(texts)).strip()


def copied_from(package: Package, slot: str, list_name: str) -> str:
    """Where the value of a slot comes from: "names", "areas", "floors" or "request"; "" of fixed values and numbers.

    Some languages list rooms; they are words like any others here.
    """
    if list_name in _COPIES or slot == "area":
        return _COPIES.get(list_name, "areas")
    if list_name == _LIGHT:
        return "names"
    content = package.lists.get(list_name, {"wildcard": True})
    return "request" if content.get("wildcard") or (slot in OPEN and "range" not in content) else ""


def open_slot(slot: str, list_name: str) -> str:
    """The slot of open words: ``state`` is a zone's name in some templates and a fixed value in others, and a grammar
    cannot tell the two apart.
    """
    return list_name if slot == "state" else slot


def letters(packages: Iterable[Package]) -> str:
    """Every character of the templates and lists of some packages, once, in order."""
    texts = [text for package in packages for text in sources(package)]
    return "".join(sorted({sign for text in texts for sign in text if sign.isprintable()}))


def sources(package: Package) -> list[str]:
    """All texts of a package: templates, rules, values."""
    values = [json.dumps(content, ensure_ascii=False) for content in package.lists.values()]
    return [*(template.text for template in package.templates), *package.rules.values(), *values]
