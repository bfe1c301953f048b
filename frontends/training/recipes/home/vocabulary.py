"""The open vocabulary of training: words of a word list and phrases of plain text, without any held-out word."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from chimerac.frontends.training.recipes.home import words as w
from chimerac.frontends.training.recipes.home.names import Vocabulary
from chimerac.frontends.training.recipes.home.surface import QUESTIONS
from chimerac.frontends.training.recipes.home.templates import Choice, Node, Package, Parts, Text, parse_template

_WORD: Final = re.compile(r"[a-z]{2,14}")
_NAME: Final = re.compile(r"[A-Z][a-z]{2,11}")
_PHRASE_WORD: Final = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")
_PHRASE_SIZES: Final = (2, 3, 4, 5, 6, 7, 8)
_MOST_PHRASES: Final = 60_000
_NO_START: Final = frozenset(("that", "to", "everywhere", "know", "saying", "says", "everyone", "everybody", "off"))
#: Words of held-out messages that name nothing: a language without them is none.
_FUNCTION_WORDS: Final = frozenset(("have", "before", "you", "the"))
#: Words that tell where a value ends, or that are said after one, beside those of the templates.
_GLUE: Final = w.word_list("please thanks thank you me now right that and or with without everywhere")


@dataclass(frozen=True)
class Pool:
    """What fresh names are made of.

    ``words``: common ones first; ``names``: of people and places; ``phrases``: two to eight words of prose. None has a
    word of ``banned``, lower case: those of the held-out names, with and without an "s".
    """

    words: tuple[str, ...]
    names: tuple[str, ...]
    phrases: tuple[str, ...]
    banned: frozenset[str]


def banned_words(seen: Vocabulary, held: Vocabulary) -> frozenset[str]:
    """Words of held-out entries that no seen entry has, lower case, with and without a plural "s".

    Function words aren't among them.
    """
    known = {*_words_of(seen), *_FUNCTION_WORDS}
    found = {word for word in _words_of(held) if word not in known}
    return frozenset(
        {form for word in found for form in (word, word + "s", word + "es", word.removesuffix("s"))} - known
    )


def _words_of(vocabulary: Vocabulary) -> Iterable[str]:
    for name, entries in vars(vocabulary).items():
        if name != "held_out":
            for entry in entries:
                yield from entry.lower().replace("-", " ").split()


def structural_words(package: Package) -> frozenset[str]:
    """Words of the templates, of closed values, of rooms and of kinds of devices: what tells where a name ends."""
    found: set[str] = {*_GLUE, *QUESTIONS}
    for template in package.templates:
        found.update(_literals(template.tree))
    for content in package.lists.values():
        for row in content.get("values", ()):
            found.update(_literals(parse_template(row["in"], {})))
    entries = [*w.ROOMS, *w.ROOM_HEADS, *w.FLOORS, *w.FLOOR_HEADS, *w.ZONES, *w.ZONE_HEADS]
    entries += [head for heads in w.HEADS.values() for head in heads]
    found.update(word for entry in entries for word in entry.lower().split())
    return frozenset({form for word in found for form in (word, word + "s")})


def _literals(node: Node) -> Iterable[str]:
    if isinstance(node, Text):
        yield from re.findall(r"[a-z']+", node.text.lower())
    elif isinstance(node, Parts | Choice):
        for item in node.items:
            yield from _literals(item)


def make_pool(
    word_list: Sequence[str], documents: Sequence[str], package: Package, seen: Vocabulary, held: Vocabulary
) -> Pool:
    """The pool of a word list; how common a word is, and phrases, come from documents of plain text."""
    banned, structural = banned_words(seen, held), structural_words(package)
    frequency = Counter(word for text in documents for word in re.findall(r"[a-z]+", text))
    usable = {word for word in word_list if word.lower() not in banned and word.lower() not in structural}
    plain = {word for word in usable if _WORD.fullmatch(word)}
    # Without a word list, the words that the documents have often enough not to be misspelt.
    plain |= {
        word for word, times in frequency.items()
        if times > 3 and len(word) > 3 and _WORD.fullmatch(word) and word not in banned | structural
    } if not word_list else set()  # fmt: skip
    names = {word for word in usable if _NAME.fullmatch(word)}
    return Pool(
        tuple(sorted(plain, key=lambda word: (-frequency[word], word))),
        tuple(sorted(names)) or tuple(person for person in seen.people if _NAME.fullmatch(person)),
        tuple(_phrases(documents, banned)),
        banned,
    )


def _phrases(documents: Sequence[str], banned: frozenset[str]) -> list[str]:
    """Runs of words inside of sentences, lower case, evenly from all documents."""
    found: dict[str, None] = {}
    for text in documents:
        for number, part in enumerate(re.split(r"[^A-Za-z' ]+", text)):
            words = part.lower().split()
            size = _PHRASE_SIZES[number % len(_PHRASE_SIZES)]
            run = words[1 : 1 + size]
            if (
                len(run) == size
                and run[0] not in _NO_START
                and all(_PHRASE_WORD.fullmatch(word) and word not in banned for word in run)
            ):
                found.setdefault(" ".join(run))
    every = list(found)
    step = max(1, len(every) // _MOST_PHRASES)
    return every[::step][:_MOST_PHRASES]
