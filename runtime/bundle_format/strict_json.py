"""JSON with limits: the subset that container headers use, the same as the C reader's."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from chimerac.runtime.bundle_format.constants import MAX_INTEGER, MAX_JSON_DEPTH

#: A bracket, or a string, perhaps without an end: that it never fails makes a search through any text linear.
_PART = re.compile(r'[\[\]{}]|"(?:[^"\\]|\\.)*+"?')
_PRINTABLE = re.compile(r"[ -~]*")
_WITH_KNOWN_ESCAPES = re.compile(r'(?:[^\\]++|\\["\\])*+')


#: Lists and objects of a text: several times those of a header with as many sections as may be. Each takes far more
#: memory than its two brackets.
MAX_BRANCHES: Final = 1 << 19


class StrictJsonError(ValueError):
    """The text is not in the subset; the message says why."""


class TooManyBranchesError(StrictJsonError):
    """The text has more lists and objects than any that is needed."""


def _reject_number(text: str) -> Any:
    raise StrictJsonError(f"the number {text[:20]} is not a whole number")


def _integer(text: str) -> int:
    if text.startswith("-") or len(text) > 16 or int(text) > MAX_INTEGER:
        raise StrictJsonError(f"the number {text[:20]} is out of range")
    return int(text)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise StrictJsonError("a key occurs twice")
    return result


def nesting(text: str, most: int) -> tuple[int, int]:
    """How deep the arrays and objects of a JSON text are nested, and how many there are; up to one below ``most``.

    It takes time linear in the length of the text, also for what is no JSON, and little memory beside it.
    """
    depth = deepest = branches = 0
    for part in _PART.finditer(text):
        first = text[part.start()]
        if first in "[{":
            branches += 1
            depth += 1
            deepest = max(deepest, depth)
            if deepest > most:
                break
        elif first != '"':
            depth -= 1
    return deepest, branches


def parse_strict(text: str, max_depth: int = MAX_JSON_DEPTH) -> Any:
    """Parse printable ASCII JSON with integers in 0..2**53 and no escapes but ``\\"`` and ``\\\\``.

    Raises StrictJsonError for anything else: other characters, duplicate keys, deeper nesting than ``max_depth``,
    more than ``MAX_BRANCHES`` lists and objects.
    """
    if not _PRINTABLE.fullmatch(text):
        raise StrictJsonError("a character is not printable ASCII")
    if not _WITH_KNOWN_ESCAPES.fullmatch(text):
        raise StrictJsonError('an escape other than \\" and \\\\')
    depth, branches = nesting(text, max_depth)
    if depth > max_depth:
        raise StrictJsonError(f"nested deeper than {max_depth}")
    if branches > MAX_BRANCHES:
        raise TooManyBranchesError(f"more than {MAX_BRANCHES} lists and objects")
    try:
        return json.loads(
            text,
            object_pairs_hook=_pairs,
            parse_int=_integer,
            parse_float=_reject_number,
            parse_constant=_reject_number,
        )
    except json.JSONDecodeError as error:
        raise StrictJsonError(f"not JSON: {error.msg} at character {error.pos}") from None


def write_strict(value: Any) -> str:
    """Compact JSON text of a value, in insertion order; raises ValueError where ``parse_strict`` would refuse it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    parse_strict(text)
    return text
