"""JSON with limits: the subset that container headers use, the same as the C reader's."""

from __future__ import annotations

import json
import re
from typing import Any

from chimerac.runtime.bundle_format.constants import MAX_INTEGER, MAX_JSON_DEPTH

#: A string, or one without an end: that it never fails makes a search through any text linear.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?')
_PRINTABLE = re.compile(r"[ -~]*")
_BAD_ESCAPE = re.compile(r'\\(?:\\|")')


class StrictJsonError(ValueError):
    """The text is not in the subset; the message says why."""


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


def depth_of(text: str) -> int:
    """How deep the arrays and objects of a JSON text are nested; linear in its length, also for what is no JSON."""
    depth = most = 0
    for bracket in re.finditer(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if bracket.group() in "[{" else -1
        most = max(most, depth)
    return most


def parse_strict(text: str, max_depth: int = MAX_JSON_DEPTH) -> Any:
    """Parse printable ASCII JSON with integers in 0..2**53 and no escapes but ``\\"`` and ``\\\\``.

    Raises StrictJsonError for anything else: other characters, duplicate keys, deeper nesting than ``max_depth``.
    """
    if not _PRINTABLE.fullmatch(text):
        raise StrictJsonError("a character is not printable ASCII")
    if "\\" in _BAD_ESCAPE.sub("", text):
        raise StrictJsonError('an escape other than \\" and \\\\')
    if depth_of(text) > max_depth:
        raise StrictJsonError(f"nested deeper than {max_depth}")
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
