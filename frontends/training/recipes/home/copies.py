"""Text that repeats itself: lines for pretraining that can only be continued by copying what stands before."""

from __future__ import annotations

import random
from typing import Final

from chimerac.frontends.training.recipes.home.fresh import FreshNames
from chimerac.frontends.training.recipes.home.surface import json_text

_DOCUMENT: Final = 1200  #: characters of a document of such lines, about
_KEYS: Final = ("name", "area", "item", "message", "floor", "search_query")
_SAYINGS: Final = (
    "{0} -> {0}", "{0} | {0}", "say {0}: {0}", '{0} becomes "{0}"', "copy of {0}: {0}", '"{0}" and again "{0}"',
    "repeat {0}. {0}.", "{0}, {0}, {0}",
)  # fmt: skip
_KINDS: Final = ("shopping_item", "query", "message", "area", "light", "todo_item", "person", "timer")


def copy_documents(names: FreshNames, generator: random.Random, characters: int) -> list[str]:
    """Documents with ``characters`` in all: values of names said twice, lists said twice, keys asked for again."""
    documents: list[str] = []
    missing = characters
    while missing > 0:
        lines: list[str] = []
        while sum(map(len, lines)) < _DOCUMENT:
            lines.append(_line(names, generator))
        documents.append("\n".join(lines))
        missing -= len(documents[-1])
    return documents


def _line(names: FreshNames, generator: random.Random) -> str:
    draw = generator.random()
    if draw < 0.45:
        return generator.choice(_SAYINGS).format(names.make(generator.choice(_KINDS)))
    if draw < 0.7:
        words = " ".join(names.word() for _ in range(generator.randint(3, 9)))
        return f"{words} {generator.choice('|=;>')} {words}"
    pairs = {key: names.make(generator.choice(_KINDS)) for key in generator.sample(_KEYS, generator.randint(1, 3))}
    if draw < 0.85:
        return f"{_spoken(pairs)} {json_text('Copy', pairs)}"
    key = generator.choice(list(pairs))
    return f"{_spoken(pairs)}. {key}? {pairs[key]}"


def _spoken(pairs: dict[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in pairs.items())
