"""What holds of a value where a schema does not: for conditions of ``if`` and items that ``contains`` doesn't count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from chimerac.compiler.errors import UserError
from chimerac.frontends.grammar.json_source import UnsupportedKeyword
from chimerac.frontends.grammar.schema_keywords import ANNOTATIONS, TYPES, is_number, problem
from chimerac.frontends.grammar.schema_parts import Part

_HINT: Final = "write the cases as anyOf, each with what it is about"
_MOST_CASES: Final = 200
_OTHERS: Final = tuple(name for name in TYPES if name not in ("number", "integer"))


def opposites(part: Part) -> tuple[Part, ...]:
    """Schemas of which exactly one holds where a schema doesn't, and none where it does.

    Raises UnsupportedKeyword for a keyword of which that cannot be said.
    """
    return tuple(Part(schema, f"{part.pointer}&not/{index}") for index, schema in enumerate(_opposite(part)))


def _opposite(part: Part) -> list[dict[str, Any]]:
    if isinstance(part.schema, bool):
        return [] if part.schema else [{}]
    if not isinstance(part.schema, dict):
        return []  # whoever holds it to be a schema says that it is none
    found: list[dict[str, Any]] = []
    held: list[dict[str, Any]] = []  # keywords before: each case is of the first that doesn't hold
    for key in (key for key in part.schema if key not in ANNOTATIONS):
        value = part.schema[key]
        if key not in _SINGLE:
            raise UnsupportedKeyword(f"{part.pointer}/{key}", f"it cannot be said when {key!r} does not hold", _HINT)
        if problem(key, value):
            return []
        for before, case in _SINGLE[key](part, key):
            if len(found) == _MOST_CASES:
                message = (
                    f"schema at {part.pointer or '/'}: over {_MOST_CASES} ways in which the condition does not hold"
                )
                raise UserError("CHM282", message, hint="make the condition simpler")
            found.append({"allOf": [*held, *before, case]})
        held.append({key: value})
    return found


#: Schemas that hold besides, and one that holds where a keyword does not.
_Case = tuple[list[dict[str, Any]], dict[str, Any]]


def _type(part: Part, key: str) -> Iterator[_Case]:
    value = part.schema[key]
    names = {value} if isinstance(value, str) else set(value)
    if "integer" in names and "number" not in names:
        raise UnsupportedKeyword(
            f"{part.pointer}/type", "numbers that are not whole cannot be told from whole ones", _HINT
        )
    rest = [name for name in TYPES if name not in names and not (name == "integer" and "number" in names)]
    if rest:
        yield [], {"type": rest}


def _values(part: Part, key: str) -> Iterator[_Case]:
    values = [part.schema["const"]] if key == "const" else part.schema["enum"]
    if any(isinstance(value, list | dict) for value in values):
        raise UnsupportedKeyword(f"{part.pointer}/{key}", "single arrays and objects cannot be ruled out", _HINT)
    numbers = sorted({value for value in values if is_number(value)})
    others = [value for value in values if not is_number(value)]
    if not numbers:
        yield [], {"not": {"enum": others}}
        return
    yield [], {"type": [*_OTHERS], **({"not": {"enum": others}} if others else {})}
    for low, high in zip([None, *numbers], [*numbers, None], strict=True):
        case: dict[str, Any] = {"type": "number"}
        case |= {} if low is None else {"exclusiveMinimum": low}
        yield [], case | ({} if high is None else {"exclusiveMaximum": high})


def _required(part: Part, key: str) -> Iterator[_Case]:
    names = part.schema[key]
    for index, name in enumerate(names):
        before = [{"required": names[:index]}] if index else []
        yield before, {"type": "object", "properties": {name: False}}


def _properties(part: Part, key: str) -> Iterator[_Case]:
    before: dict[str, Any] = {}
    for name, schema in part.schema[key].items():
        for case in _opposite(part.at(key, name)):
            held = [{"properties": dict(before)}] if before else []
            yield held, {"type": "object", "required": [name], "properties": {name: case}}
        before[name] = schema


def _not(part: Part, key: str) -> Iterator[_Case]:
    yield [], part.schema[key]


def _bound(other: str) -> Callable[[Part, str], Iterator[_Case]]:
    def cases(part: Part, key: str) -> Iterator[_Case]:
        value = part.schema[key]
        if isinstance(value, bool):
            raise UnsupportedKeyword(f"{part.pointer}/{key}", "in a condition it is a number", _HINT)
        if isinstance(part.schema.get(f"exclusive{key[0].upper()}{key[1:]}"), bool):
            raise UnsupportedKeyword(f"{part.pointer}/{key}", "beside true or false as in draft 4", _HINT)
        yield [], {"type": "number", other: value}

    return cases


def _counted(type_: str, other: str, step: int) -> Callable[[Part, str], Iterator[_Case]]:
    def cases(part: Part, key: str) -> Iterator[_Case]:
        bound = int(part.schema[key]) + step
        if bound >= 0:
            yield [], {"type": type_, other: bound}

    return cases


#: What is the opposite of each keyword that has one.
_SINGLE: Final[Mapping[str, Callable[[Part, str], Iterator[_Case]]]] = {
    "type": _type,
    "const": _values,
    "enum": _values,
    "required": _required,
    "properties": _properties,
    "not": _not,
    "minimum": _bound("exclusiveMaximum"),
    "maximum": _bound("exclusiveMinimum"),
    "exclusiveMinimum": _bound("maximum"),
    "exclusiveMaximum": _bound("minimum"),
    "minLength": _counted("string", "maxLength", -1),
    "maxLength": _counted("string", "minLength", 1),
    "minItems": _counted("array", "maxItems", -1),
    "maxItems": _counted("array", "minItems", 1),
}
