"""Short forms of ``key`` for the kinds of values that occur all over a config."""

from __future__ import annotations

from dataclasses import MISSING
from typing import Any

from chimerac.frontends.config.fields import key

MAX_SIZE = 1 << 20  #: largest dimension of a tensor
MAX_COUNT = 1 << 40  #: largest number of entries, tokens or bytes


def switch(doc: str, *, default: Any = False, **details: Any) -> Any:
    """true or false."""
    return key(doc, default=default, **details)


def size(doc: str, *, default: Any = MISSING, **details: Any) -> Any:
    """A dimension: a whole number from 1 to ``MAX_SIZE``."""
    return key(doc, default=default, **{"minimum": 1, "maximum": MAX_SIZE, **details})


def count(doc: str, *, default: Any = None, **details: Any) -> Any:
    """A number of things: a whole number from 0 to ``MAX_COUNT``."""
    return key(doc, default=default, **{"minimum": 0, "maximum": MAX_COUNT, **details})


def fraction(doc: str, *, default: Any = None, **details: Any) -> Any:
    """A number from 0 to 1."""
    return key(doc, default=default, **{"minimum": 0, "maximum": 1, **details})


def text(doc: str, *, default: Any = None, **details: Any) -> Any:
    """A string."""
    return key(doc, default=default, **details)


def one_of(doc: str, *choices: str, default: str | None = None, **details: Any) -> Any:
    """One of a few strings; the first of them unless another default is given."""
    return key(doc, default=default or choices[0], choices=choices, **details)


def names(doc: str, **details: Any) -> Any:
    """A list of strings, empty unless written."""
    return key(doc, default=(), **details)


def papers() -> Any:
    """The ``§`` key of a section."""
    return key(
        "Papers this section follows: entries of the top-level § map.",
        name="§",
        default=(),
        single=True,
        status="checked",
    )
