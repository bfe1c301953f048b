"""Values for the open slots: names, areas, floors, people, items, titles, drawn from seen or from held-out words."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from chimerac.frontends.training.recipes.home import words as w

HELD_OUT_SHARE: Final = 0.12  #: of each list of words, for the names that training never has
_ONSETS: Final = w.word_list(
    "b br c ch cl d dr f fl fr g gl gr h j k kl kr l m n p pl pr qu r s sh sk sl st t th tr v vl w y z"
)
_VOWELS: Final = w.word_list("a e i o u a e i o ai ee ia oo ou")
_CODAS: Final = w.word_list("b d g k l m n nd nt p r rn s sk st t th x z l n r")
_ENDINGS: Final = w.word_list("a en er ia ic ine is o on or um us y el ix")


def made_up_word(generator: random.Random) -> str:
    """A pronounceable word of 4 to 12 letters that (nearly always) means nothing."""
    while True:
        word = generator.choice(_ONSETS) + generator.choice(_VOWELS) + generator.choice(_CODAS)
        if generator.random() < 0.5:
            word += generator.choice(_VOWELS) + generator.choice(_CODAS)
        if generator.random() < 0.6:
            word += generator.choice(_ENDINGS)
        if 4 <= len(word) <= 12:
            return word


def made_up_words(count: int, generator: random.Random) -> list[str]:
    """``count`` different made-up words."""
    found: dict[str, None] = {}
    while len(found) < count:
        found.setdefault(made_up_word(generator))
    return list(found)


@dataclass(frozen=True)
class Vocabulary:
    """The words that open slots are made of; ``held_out`` tells the one that training never sees from the other."""

    held_out: bool
    adjectives: tuple[str, ...]
    nouns: tuple[str, ...]
    people: tuple[str, ...]
    places: tuple[str, ...]
    foods: tuple[str, ...]
    goods: tuple[str, ...]
    chores: tuple[str, ...]
    timers: tuple[str, ...]
    messages: tuple[str, ...]
    scenes: tuple[str, ...]
    lists: tuple[str, ...]
    title_words: tuple[str, ...]
    made_up: tuple[str, ...]
    marked_rooms: tuple[str, ...]


def vocabularies(seed: int) -> tuple[Vocabulary, Vocabulary]:
    """(seen, held out): no word is in both, not even in different lists."""
    generator = random.Random(f"{seed} vocabulary")
    held_words: set[str] = set()
    seen_words = {*w.ROOMS, *w.ROOM_HEADS, *w.FLOORS, *w.ZONES, *(head for heads in w.HEADS.values() for head in heads)}

    def parts(words: tuple[str, ...] | list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        shuffled = sorted(set(words))
        generator.shuffle(shuffled)
        held = {word for word in shuffled if word in held_words}
        free = [word for word in shuffled if word not in held_words and word not in seen_words]
        held.update(free[: max(0, max(2, round(len(shuffled) * HELD_OUT_SHARE)) - len(held))])
        held_words.update(held)
        seen_words.update(word for word in shuffled if word not in held)
        return tuple(sorted(set(shuffled) - held)), tuple(sorted(held))

    nouns, adjectives = parts([noun for noun in w.NOUNS if noun not in seen_words]), parts(w.ADJECTIVES)
    lists = [parts(list_) for list_ in (w.PEOPLE, w.PLACES, w.FOODS, w.GOODS, w.CHORES, w.TIMERS, w.MESSAGES)]
    lists += [parts(list_) for list_ in (w.SCENES, w.LISTS, w.TITLE_WORDS)]
    lists.append(parts(made_up_words(24000, generator)))
    rooms = (lists[-1][0], w.UNSEEN_ROOMS)
    seen, held = ([column[k] for column in (adjectives, nouns, *lists, rooms)] for k in (0, 1))
    return Vocabulary(False, *seen), Vocabulary(True, *held)


def name_words() -> frozenset[str]:
    """The words, lower case, of all lists that the first parts of names come from, seen and held out alike."""
    lists = (w.ADJECTIVES, w.NOUNS, w.PEOPLE, w.PLACES, w.FOODS, w.GOODS, w.TIMERS, w.SCENES, w.LISTS, w.TITLE_WORDS)
    return frozenset(word.lower() for entries in lists for entry in entries for word in entry.split())


class NameMaker:
    """Draws values of one vocabulary; each method's result is the text as it stands in a sentence.

    Kinds are disjoint: an area ends with a room word (or follows "in"), a device's name with a word of its domain, and
    no device's name starts with an area, so that a sentence has one reading.
    """

    def __init__(self, vocabulary: Vocabulary, generator: random.Random) -> None:
        self.vocabulary = vocabulary
        self._random = generator
        self._kinds: dict[str, Callable[[], str]] = {
            "area": self.area,
            "floor": self.floor,
            "zone": self.zone,
            "scene": self.scene,
            "person": self.person,
            "weather": self.place,
            "todo": self.todo,
            "timer": self.timer,
            "shopping_item": self.item,
            "todo_item": self.todo_item,
            "query": self.query,
            "message": self.message,
            "made_up": self.made_up,
            "food": lambda: self._one(self.vocabulary.foods),
            "noun": lambda: self._one(self.vocabulary.nouns),
            "adjective": lambda: self._one(self.vocabulary.adjectives),
        }

    def make(self, kind: str) -> str:
        """A value of a kind: one of the methods here, or a domain of ``words.HEADS``."""
        maker = self._kinds.get(kind)
        return maker() if maker else self.device(kind)

    def _one(self, values: tuple[str, ...]) -> str:
        return values[int(self._random.random() * len(values))]

    def _first_part(self) -> str:
        """What tells a thing from others of its sort: "left", "small reading", "Anna's", "zorbel"."""
        vocabulary, draw = self.vocabulary, self._random.random()
        if draw < 0.26:
            return self._one(vocabulary.nouns)
        if draw < 0.44:
            return self._one(vocabulary.adjectives)
        if draw < 0.56:
            return f"{self._one(vocabulary.adjectives)} {self._one(vocabulary.nouns)}"
        if draw < 0.68:
            return f"{self.person()}'s"
        if draw < 0.72:
            return f"{self.person()}'s {self._one(vocabulary.nouns)}"
        made_up = self.made_up()
        return made_up if draw < 0.94 else f"{made_up} {self._one(vocabulary.nouns)}"

    def made_up(self) -> str:
        word = self._one(self.vocabulary.made_up)
        return word.capitalize() if self._random.random() < 0.25 else word

    def device(self, domain: str) -> str:
        """A name such as "left blind"; bare words only where every verb leaves the intent clear."""
        if domain in ("switch", "input_boolean", "lock", "button") and self._random.random() < 0.12:
            return self.made_up()
        return f"{self._first_part()} {self._one(w.HEADS[domain])}"

    def area(self) -> str:
        draw = self._random.random()
        if not self.vocabulary.held_out:
            if draw < 0.45:
                return self._one(w.ROOMS)
            if draw < 0.5:
                return f"{self._one(('bedroom', 'bathroom', 'office', 'room', 'studio'))} {self._random.randint(1, 4)}"
        return f"{self._first_part()} {self._one(w.ROOM_HEADS)}"

    def marked_area(self) -> str:
        """An area without any room word that training knows: only after a word that marks an area."""
        return self._one(self.vocabulary.marked_rooms)

    def floor(self) -> str:
        if not self.vocabulary.held_out and self._random.random() < 0.8:
            return self._one(w.FLOORS)
        first = self.made_up() if self._random.random() < 0.6 else self._one(self.vocabulary.adjectives)
        return f"{first} {self._one(w.FLOOR_HEADS)}"

    def person(self) -> str:
        return self.made_up().capitalize() if self._random.random() < 0.3 else self._one(self.vocabulary.people)

    def zone(self) -> str:
        if not self.vocabulary.held_out and self._random.random() < 0.5:
            return self._one(w.ZONES)
        return f"{self._first_part()} {self._one(w.ZONE_HEADS)}"

    def place(self) -> str:
        return self.made_up().capitalize() if self._random.random() < 0.4 else self._one(self.vocabulary.places)

    def scene(self) -> str:
        draw = self._random.random()
        if draw < 0.45:
            return self._one(self.vocabulary.scenes)
        if draw < 0.6:
            return self.made_up()
        return f"{self._first_part()} {self._one(('mood', 'evening', 'ambience', 'vibes', 'atmosphere'))}"

    def todo(self) -> str:
        draw = self._random.random()
        if draw < 0.5:
            return self._one(self.vocabulary.lists)
        return self.made_up() if draw < 0.65 else f"{self._first_part()} {self._one(w.HEADS['todo'])}"

    def timer(self) -> str:
        draw = self._random.random()
        if draw < 0.6:
            return self._one(self.vocabulary.timers)
        if draw < 0.75:
            return f"{self._one(self.vocabulary.adjectives)} {self._one(self.vocabulary.timers)}"
        return self.made_up()

    def item(self) -> str:
        draw = self._random.random()
        thing = self._one(self.vocabulary.foods if draw < 0.6 else self.vocabulary.goods)
        if draw > 0.85:
            thing = self.made_up()
        extra = self._random.random()
        if extra < 0.25:
            return f"{self._one(w.AMOUNTS)} {thing}"
        if extra < 0.4:
            return f"{self._one(self.vocabulary.adjectives)} {thing}"
        return f"{thing} and {self._one(self.vocabulary.foods)}" if extra < 0.48 else thing

    def todo_item(self) -> str:
        return self._one(self.vocabulary.chores) if self._random.random() < 0.35 else self.item()

    def _title(self) -> str:
        count = 1 + int(self._random.random() * 3)
        words = [
            self._one(self.vocabulary.title_words) if self._random.random() < 0.7 else self.made_up()
            for _ in range(count)
        ]
        return " ".join(words)

    def query(self) -> str:
        draw = self._random.random()
        if draw < 0.45:
            title = self._title()
            return title.title() if draw < 0.2 else title
        if draw < 0.6:
            return f"{self.person()} {self.made_up().capitalize()}"
        if draw < 0.7:
            return f"the {self._title()}s"
        if draw < 0.85:
            return f"{self._title()} by {self.person()} {self.made_up().capitalize()}"
        return f"{self._one(self.vocabulary.adjectives)} {self._one(w.GENRES)}"

    def message(self) -> str:
        draw = self._random.random()
        if draw < 0.4:
            return self._one(self.vocabulary.messages)
        if draw < 0.7:
            return f"{self._one(self.vocabulary.messages)} {self.person()}"
        if draw < 0.85:
            return f"{self.person()} needs the {self._one(self.vocabulary.nouns)}"
        return f"{self._one(w.MESSAGE_STARTS)} {self.person()}"
