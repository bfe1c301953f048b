"""JSON as a source: read strictly, with the pointer of what is wrong, or taken from Python and checked the same way."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from chimerac.compiler.errors import Span, UserError
from chimerac.frontends.grammar.budget import Budget, printable, shown

#: Digits of whole numbers: those of the largest double, so that no other reader loses them.
_MOST_DIGITS: Final = 309
_SIGNS: Final = re.compile(r'["\\\[\]{}]')


class UnsupportedKeyword(UserError):
    """A part of a schema that can't be obeyed; ``json_pointer`` says which."""

    def __init__(self, json_pointer: str, message: str, hint: str | None = None) -> None:
        super().__init__("CHM281", f"schema at {printable(json_pointer) or '/'}: {message}", hint=hint)
        self.json_pointer = json_pointer


class InvalidSchema(UserError):
    """A part of a schema that isn't one."""

    def __init__(self, json_pointer: str, message: str, hint: str | None = None) -> None:
        super().__init__("CHM280", f"schema at {printable(json_pointer) or '/'}: {message}", hint=hint)
        self.json_pointer = json_pointer


def escape(key: str) -> str:
    """A key as it stands in a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


@dataclass(frozen=True, slots=True)
class _Wrong:
    """Stands where the text has what no value can be: a number out of range, or a key a second time."""

    text: str
    key: str | None = None


def read_json(text: str, budget: Budget) -> Any:
    """The value of a JSON text; a byte order mark before it is no part of it.

    Raises UserError CHM280 for what isn't JSON and for keys that occur twice, CHM281 for numbers that no double holds,
    CHM282 for a limit.
    """
    budget.source(text)
    text = text.removeprefix("\ufeff")
    _check_nesting(text, budget)
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_Wrong, parse_int=_integer, parse_float=_number
        )
    except json.JSONDecodeError as error:
        line = text[error.pos - error.colno + 1 :].split("\n", 1)[0]
        span = Span("<schema>", error.lineno, error.colno, 1, line)
        raise UserError("CHM280", f"the schema is not JSON: {error.msg}", span=span) from None
    return value


def check_json(value: Any, budget: Budget) -> None:
    """Raise for what JSON has no text for, wherever it came from; errors as of ``read_json``."""
    for pointer, item, depth in _walk(value):
        budget.spend(1 + (len(item) if isinstance(item, dict | list) else 0))
        budget.enter(depth)
        if isinstance(item, _Wrong):
            if item.key is not None:
                raise InvalidSchema(pointer, f"the key {shown(item.key)} occurs twice", "leave one of them out")
            raise UnsupportedKeyword(pointer, f"{shown(item.text)[1:-1]} is no number that JSON's readers agree on")
        if isinstance(item, float) and not math.isfinite(item):
            raise UnsupportedKeyword(pointer, f"{item} is no number of JSON")
        if isinstance(item, int) and not isinstance(item, bool) and abs(item) >= 10**_MOST_DIGITS:
            raise UnsupportedKeyword(pointer, f"numbers of more than {_MOST_DIGITS} digits are not supported")
        if isinstance(item, dict) and not all(isinstance(key, str) for key in item):
            raise InvalidSchema(pointer, "the keys of an object are strings")
        if not isinstance(item, dict | list | str | int | float | None):
            raise InvalidSchema(pointer, f"a {type(item).__name__} is no value of JSON")


def _walk(value: Any) -> Iterator[tuple[str, Any, int]]:
    """All values inside a value, each with its pointer and depth."""
    stack = [("", value, 0)]
    while stack:
        pointer, item, depth = stack.pop()
        yield pointer, item, depth
        if isinstance(item, dict):
            stack += [(f"{pointer}/{escape(key)}", inner, depth + 1) for key, inner in reversed(item.items())]
        elif isinstance(item, list):
            stack += [(f"{pointer}/{index}", inner, depth + 1) for index, inner in reversed(list(enumerate(item)))]


def _object(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                return {**found, key: _Wrong("", key)}
            seen.add(key)
    return found


def _integer(text: str) -> Any:
    return int(text) if len(text) <= _MOST_DIGITS + 1 else _Wrong(text)


def _number(text: str) -> Any:
    value = float(text)
    return value if math.isfinite(value) else _Wrong(text)


def _check_nesting(text: str, budget: Budget) -> None:
    depth, quoted, skipped = 0, False, -1
    for match in _SIGNS.finditer(text):
        sign, position = match[0], match.start()
        if position == skipped:
            continue
        if sign == '"':
            quoted = not quoted
        elif quoted:
            skipped = position + 1 if sign == "\\" else -1
        else:
            depth += 1 if sign in "[{" else -1
            budget.enter(depth)
