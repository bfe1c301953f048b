"""Names for training, put together anew for nearly each row, so that nothing can be learnt but to copy them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

from chimerac.frontends.training.recipes.home import words as w
from chimerac.frontends.training.recipes.home.names import NameMaker, Vocabulary, made_up_word
from chimerac.frontends.training.recipes.home.vocabulary import Pool

_LISTED: Final = 0.25  #: share of values that come from the lists of words, as in validation
_COMMON: Final = 0.15  #: of the words of the pool: the common ones
_COMMON_SHARE: Final = 0.4  #: of the words drawn that are common ones
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
_UNITS: Final = w.word_list("cans packs bottles boxes bags jars kilos pounds bunches slices cups grams liters rolls")
_MESSAGES: Final = (
    "the {w} is {w}", "the {w} {w} are {w}", "{n} needs the {w}", "{n} and {n} are at the {w}", "do not {w} the {w}",
    "please {w} the {w} {w}", "{w} the {w} until {n} {w}", "we will {w} at {d}", "{w} is ready",
    "{w} {w} in {d} minutes",
    "someone has {w} the {w}", "I am at the {w} {w}", "it is time to {w}", "time for {w} and {w}", "no {w} after {d}",
    "who has the {w} {w}", "{n} is here", "come to the {w} {n}", "the {w} of the {w} has {w}", "{w} first then {w}",
    "they had {w} their {w}", "everyone {w} now please", "your {w} was {w} by {n}", "be careful the {w} is {w}",
    "did {n} {w} my {w}", "there are {d} {w} in the {w}", "{w} without {w}", "let us {w} with {n}",
    "never {w} a {w} {w}",
    "this {w} will be {w} until {d}", "{w} {w} {w}", "{w} {w} {w} {w}", "{w} {w} {w} {w} {w} {w}", "{w}", "{w} {w}",
    "what a {w} {w}", "if they {w} then {w}", "{n}'s {w} is on the {w}", "has anybody {w} the {w} from {p}",
    "hello {n}",
)  # fmt: skip
_TASKS: Final = (
    "{w} the {w}", "{w} the {w} {w}", "{w} {n}", "{w} {n}'s {w}", "{w} a {w}", "{w} {w} for {n}", "{w} and {w}",
    "{w} {n} about the {w}", "{w} {w} {w}", "{w} {w} {w} {w}", "{w} the {w} of the {w}", "{w} up the {w}",
    "{w} {d} {w}",
)  # fmt: skip
_TITLES: Final = (
    "{w}", "{w} {w}", "{w} {w} {w}", "the {w}", "the {w} {w}", "{w} of the {w}", "{w} and the {w}", "{w} and {w}",
    "a {w} for {n}", "{d} {w}", "{w} {d}", "{n} {n}", "{n}", "{w} the {w}", "the {w} of {n}", "{w} me {w}",
    "don't {w} {w}",
    "{n} and the {w}", "{w} {w} {w} {w}", "my {w} {w}", "{w} {w} by {n} {n}", "{w} by the {w}s", "{w} by {n}",
    "{n}'s {w}",
)  # fmt: skip


class FreshNames(NameMaker):
    """A NameMaker whose values are mostly made of the words of a pool; its kinds stay as disjoint as before.

    Single words are common ones, rare ones, made-up ones, misspelt ones, and some with digits.
    """

    def __init__(self, vocabulary: Vocabulary, generator: random.Random, pool: Pool) -> None:
        super().__init__(vocabulary, generator)
        self._pool = pool

    def _mixed(self, listed: Callable[[], str], fresh: Callable[[], str]) -> str:
        return listed() if self._random.random() < _LISTED else fresh()

    def word(self) -> str:
        """A word, lower case but for a few."""
        while True:
            draw = self._random.random()
            if draw < _COMMON_SHARE:
                word = self._pool.words[int(len(self._pool.words) * _COMMON * self._random.random())]
            elif draw < 0.8:
                word = self._one(self._pool.words)
            elif draw < 0.9:
                word = made_up_word(self._random)
            elif draw < 0.96:
                word = self._misspelt(self._one(self._pool.words))
            elif draw < 0.98:
                word = self._one(self._pool.words)[:4] + self._one(self._pool.words)[-4:]
            else:
                letters = "".join(self._random.choice(_LETTERS) for _ in range(self._random.randint(1, 3)))
                word = letters.upper() + str(self._random.randint(0, 99))
            if word.lower() not in self._pool.banned:
                return word

    def _misspelt(self, word: str) -> str:
        """One letter doubled, left out, changed, or swapped with the next."""
        place, draw = int(self._random.random() * (len(word) - 1)), self._random.random()
        if draw < 0.25:
            return word[:place] + word[place] + word[place:]
        if draw < 0.5:
            return word[:place] + word[place + 1 :]
        if draw < 0.75:
            return word[:place] + self._random.choice(_LETTERS) + word[place + 1 :]
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]

    def _words(self, shares: Sequence[float]) -> str:
        """One word, two, and so on, with these shares."""
        count = self._random.choices(range(1, len(shares) + 1), shares)[0]
        return " ".join(self.word() for _ in range(count))

    def _written(self, patterns: Sequence[str]) -> str:
        """A pattern with {w} words, {n} names of people, {p} places and {d} numbers."""
        parts = self._random.choice(patterns).split("{")
        text = parts[0]
        makers: dict[str, Callable[[], str]] = {
            "w": self.word,
            "n": self.person,
            "p": self.place,
            "d": lambda: str(self._random.randint(2, 99)),
        }
        for part in parts[1:]:
            text += f"{makers[part[0]]()}{part[2:]}"
        return text

    def _cased(self, text: str) -> str:
        return text.title().replace("'S ", "'s ") if self._random.random() < 0.15 else text

    def _first_part(self) -> str:
        return self._mixed(super()._first_part, self._fresh_part)

    def _fresh_part(self) -> str:
        draw = self._random.random()
        if draw < 0.14:
            return f"{self.person()}'s"
        if draw < 0.22:
            return f"{self.person()}'s {self._words((2, 1))}"
        if draw < 0.25:
            return f"{self.word()}-{self.word()}"
        if draw < 0.28:
            return f"{self._words((2, 1))} {self._random.randint(1, 30)}"
        return self._cased(self._words((5, 4, 1)))

    def made_up(self) -> str:
        return self._mixed(super().made_up, self._fresh_made_up)

    def _fresh_made_up(self) -> str:
        while (word := made_up_word(self._random)) in self._pool.banned:
            pass
        return word.capitalize() if self._random.random() < 0.25 else word

    def device(self, domain: str) -> str:
        if domain in ("switch", "input_boolean", "lock", "button") and self._random.random() < 0.12:
            return self._words((4, 2)) if self._random.random() < 0.5 else self.made_up()
        return super().device(domain)

    def marked_area(self) -> str:
        return self._mixed(super().marked_area, lambda: self._words((4, 1)))

    def floor(self) -> str:
        return self._mixed(super().floor, lambda: f"{self._words((3, 1))} {self._one(w.FLOOR_HEADS)}")

    def person(self) -> str:
        return self._mixed(super().person, self._proper)

    def place(self) -> str:
        return self._mixed(super().place, lambda: self._proper() + (f" {self._proper()}" if self._coin(0.2) else ""))

    def _proper(self) -> str:
        return self._one(self._pool.names) if self._coin(0.6) else self.word().capitalize()

    def _coin(self, share: float) -> bool:
        return self._random.random() < share

    def scene(self) -> str:
        return self._mixed(super().scene, lambda: self._cased(self._words((4, 4, 1))))

    def todo(self) -> str:
        return self._mixed(super().todo, lambda: self._cased(self._words((5, 3, 1))))

    def timer(self) -> str:
        return self._mixed(super().timer, lambda: self._words((5, 4, 1)))

    def item(self) -> str:
        return self._mixed(super().item, self._fresh_item)

    def _fresh_item(self) -> str:
        thing, draw = self._words((4, 4, 2)), self._random.random()
        if draw < 0.15:
            return f"{self._one(w.AMOUNTS)} {thing}"
        if draw < 0.25:
            return f"{self._random.randint(2, 40)} {thing}"
        if draw < 0.35:
            return f"{self._random.randint(2, 20)} {self._one(_UNITS)} of {thing}"
        if draw < 0.45:
            return f"{thing} and {self._words((2, 1))}"
        return f"{thing} for {self.person()}" if draw < 0.5 else self._cased(thing)

    def todo_item(self) -> str:
        draw = self._random.random()
        if draw < 0.15:
            return self._one(self.vocabulary.chores)
        return self._cased(self._written(_TASKS)) if draw < 0.6 else self.item()

    def query(self) -> str:
        return self._mixed(super().query, self._fresh_query)

    def _fresh_query(self) -> str:
        title = self._written(_TITLES)
        return title.title().replace("'S", "'s").replace("'T", "'t") if self._coin(0.3) else title

    def message(self) -> str:
        return self._mixed(super().message, self._fresh_message)

    def _fresh_message(self) -> str:
        if self._pool.phrases and self._coin(0.4):
            phrase = self._one(self._pool.phrases)
            return f"{phrase} {self.person()}" if self._coin(0.1) else phrase
        return self._written(_MESSAGES)
