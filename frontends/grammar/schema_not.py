"""What ``not`` rules out: types, single values, or the presence of a property."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from chimerac.frontends.grammar.json_source import UnsupportedKeyword
from chimerac.frontends.grammar.schema_keywords import ANNOTATIONS, problem

_HINT: Final = (
    "only type, enum, const and required can stand in it, alone: say what a value is in place of what it is not"
)


def ruled_out(schema: Mapping[str, Any]) -> tuple[frozenset[str], list[Any], list[str]]:
    """Types, values, and names of properties of which one has to be absent."""
    inner = schema.get("not")
    if not isinstance(inner, dict):
        return frozenset(), [], []
    listed = inner.get("type", [])
    types = {listed} if isinstance(listed, str) else set(listed)
    values = [inner["const"]] if "const" in inner else inner.get("enum", [])
    types |= {"null"} if None in values else set()
    types |= {"integer"} if "number" in types else set()
    return frozenset(types), list(values), list(inner.get("required", []))


def check_not(inner: Any, pointer: str) -> None:
    """Raise UnsupportedKeyword for a ``not`` that can't be obeyed."""
    keywords = inner.keys() - ANNOTATIONS if isinstance(inner, dict) else set()
    if len(keywords) != 1 or not keywords <= {"type", "enum", "const", "required"}:
        raise UnsupportedKeyword(pointer, "this form of 'not' is not supported", _HINT)
    (key,) = keywords
    if problem(key, inner[key]) or (not inner[key] and key == "required"):
        raise UnsupportedKeyword(pointer, f"this form of 'not' is not supported: {problem(key, inner[key])}", _HINT)
    types = ruled_out({"not": inner})[0]
    if key == "type" and "integer" in types and "number" not in types:
        raise UnsupportedKeyword(pointer, "numbers that are not whole cannot be told from whole ones", _HINT)


def check_values(values: list[Any], types: frozenset[str], pointer: str) -> None:
    """Raise UnsupportedKeyword where values of these types can't be ruled out."""
    for value in values:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        wanted = {"number", "integer"} if number else {"array"} if isinstance(value, list) else set()
        wanted = {"object"} if isinstance(value, dict) else wanted
        if wanted & types:
            kind = "numbers" if number else f"{wanted.pop()}s"
            hint = "rule out texts, true, false and null; others beside an enum or another type"
            raise UnsupportedKeyword(pointer, f"single {kind} cannot be ruled out", hint)
