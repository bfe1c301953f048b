"""Values of a JSON text that is not trusted, one by one: of the right kind, or ``InvalidError`` with what is wrong."""

from __future__ import annotations

import re
from typing import Any

from chimerac.runtime.bundle_format import constants as c

#: What could speak to a terminal, and halves of characters.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class InvalidError(Exception):
    """What a value should have been."""


def need(condition: bool, message: str) -> None:
    """Raise InvalidError unless a condition holds."""
    if not condition:
        raise InvalidError(message)


def object_of(value: object, what: str, keys: set[str]) -> dict[str, Any]:
    """An object with some keys at least."""
    need(isinstance(value, dict), f"{what} is not an object")
    assert isinstance(value, dict)
    missing = sorted(keys - value.keys())
    need(not missing, f"{what} has no {', '.join(missing)}")
    return value


def text_of(value: object, what: str, pattern: re.Pattern[str] | None = None) -> str:
    """A text of printable characters that a pattern matches, where one is given."""
    need(isinstance(value, str) and len(value) <= 4096, f"{what} is not a text")
    assert isinstance(value, str)
    need(UNPRINTABLE.search(value) is None, f"{what} has characters that are not printable")
    need(pattern is None or pattern.fullmatch(value) is not None, f"{what} {value[:70]!r} is not valid")
    return value


def count_of(value: object, what: str) -> int:
    """A number from 0 to 2^53 - 1."""
    need(type(value) is int and 0 <= value < c.MAX_INTEGER, f"{what} is not a number in range")
    assert isinstance(value, int)
    return value


def list_of(value: object, what: str) -> list[object]:
    """A list of no more than 65,536 values."""
    need(isinstance(value, list) and len(value) <= 65_536, f"{what} is not a list")
    assert isinstance(value, list)
    return value
