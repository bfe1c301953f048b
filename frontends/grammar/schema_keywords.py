"""The keywords of JSON Schema: which are obeyed, which annotate, which are refused, and what values they may have."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any, Final

from chimerac.frontends.grammar.budget import shown
from chimerac.frontends.grammar.json_source import UnsupportedKeyword
from chimerac.runtime.bundle_format.fstpack import SLOT_KINDS

TYPES: Final = ("object", "array", "string", "number", "integer", "boolean", "null")

#: Keywords that say nothing about which texts are valid, of any draft and of OpenAPI.
ANNOTATIONS: Final = frozenset(
    {"$schema", "$comment", "$defs", "definitions", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary",
     "id", "title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly",
     "contentMediaType", "contentEncoding", "contentSchema", "discriminator", "xml", "externalDocs"}
)  # fmt: skip
#: Keywords that are obeyed.
KEYWORDS: Final = frozenset(
    {"$ref", "$id", "type", "enum", "const", "allOf", "anyOf", "oneOf", "properties", "required",
     "additionalProperties", "patternProperties", "propertyNames", "minProperties", "maxProperties",
     "dependentRequired", "items", "additionalItems", "prefixItems", "minItems", "maxItems", "minLength",
     "maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
     "uniqueItems", "unevaluatedProperties", "unevaluatedItems", "not", "if", "then", "else", "dependentSchemas",
     "dependencies", "x-copy"}
)  # fmt: skip
#: Keywords about what no other one of the same schema is about.
UNEVALUATED: Final = frozenset({"unevaluatedProperties", "unevaluatedItems"})
#: Keywords that restrict values and are not obeyed, with what to write in their place.
REFUSED: Final = {
    "contains": "describe the items with items or prefixItems",
    "minContains": "describe the items with items or prefixItems",
    "maxContains": "describe the items with items or prefixItems",
    "$dynamicRef": "use $ref",
    "$recursiveRef": "use $ref",
}
#: Keywords that mean something elsewhere, and what is made of them here.
_NOTED: Final = {"nullable": "nullable is a word of OpenAPI 3.0 that JSON Schema ignores: null is not allowed by it"}


def unknown_keyword(key: str, pointer: str) -> str:
    """The note for a keyword of no draft, which only annotates; raises UnsupportedKeyword for one that restricts."""
    if key in REFUSED:
        raise UnsupportedKeyword(pointer, f"the keyword {shown(key)} is not supported", REFUSED[key])
    if key in _NOTED:
        return _NOTED[key]
    near = difflib.get_close_matches(key[:60], [*KEYWORDS, *REFUSED], n=1, cutoff=0.8)
    if near:
        raise UnsupportedKeyword(pointer, f"there is no keyword {shown(key)}", f"did you mean {near[0]!r}?")
    return f"the keyword {shown(key)} is unknown and says nothing about values"


def is_number(value: object) -> bool:
    """Whether a JSON value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def problem(key: str, value: Any) -> str:
    """What is wrong with the value of a keyword; "" if nothing."""
    check = _CHECKS.get(key)
    return "" if check is None else check(key, value)


def _type(key: str, value: Any) -> str:
    names = [value] if isinstance(value, str) else value
    if isinstance(names, list) and names and all(isinstance(n, str) and n in TYPES for n in names):
        return ""
    wrong = (
        next((n for n in names if not (isinstance(n, str) and n in TYPES)), None) if isinstance(names, list) else None
    )
    near = difflib.get_close_matches(wrong[:60], TYPES, n=1) if isinstance(wrong, str) else []
    return f"type is one of {', '.join(TYPES)}, or a list of them" + (f"; did you mean {near[0]!r}?" if near else "")


def _schemas(key: str, value: Any) -> str:
    return "" if isinstance(value, list) and value else f"{key} is a list of schemas"


def _schema(key: str, value: Any) -> str:
    return "" if isinstance(value, dict | bool) else f"{key} is a schema: an object, true or false"


def _named(key: str, value: Any) -> str:
    return "" if isinstance(value, dict) else f"{key} is an object of schemas"


def _names(key: str, value: Any) -> str:
    fits = isinstance(value, list) and all(isinstance(name, str) for name in value)
    return "" if fits else f"{key} is a list of names"


def _dependent(key: str, value: Any) -> str:
    fits = isinstance(value, dict) and not any(_names(key, names) for names in value.values())
    return "" if fits else f"{key} is an object of lists of names"


def _dependencies(key: str, value: Any) -> str:
    fits = isinstance(value, dict) and not any(isinstance(held, list) and _names(key, held) for held in value.values())
    return "" if fits else f"{key} is an object of schemas and lists of names"


def _values(key: str, value: Any) -> str:
    return "" if isinstance(value, list) and value else f"{key} is a list of values"


def _count(key: str, value: Any) -> str:
    return "" if is_number(value) and value >= 0 and value == int(value) else f"{key} is a whole number, 0 or more"


def _number(key: str, value: Any) -> str:
    return "" if is_number(value) else f"{key} is a number"


def _open_bound(key: str, value: Any) -> str:
    return "" if is_number(value) or isinstance(value, bool) else f"{key} is a number, or as in draft 4 true or false"


def _divisor(key: str, value: Any) -> str:
    return "" if is_number(value) and value > 0 else f"{key} is a number above 0"


def _text(key: str, value: Any) -> str:
    return "" if isinstance(value, str) else f"{key} is a string"


def _copy(key: str, value: Any) -> str:
    return "" if value in SLOT_KINDS else f"{key} is one of {', '.join(SLOT_KINDS)}"


def _flag(key: str, value: Any) -> str:
    return "" if isinstance(value, bool) else f"{key} is true or false"


def _each(keys: Iterable[str], check: Callable[[str, Any], str]) -> dict[str, Callable[[str, Any], str]]:
    return dict.fromkeys(keys, check)


_CHECKS: Final[dict[str, Callable[[str, Any], str]]] = {
    "type": _type,
    "enum": _values,
    "required": _names,
    "dependentRequired": _dependent,
    "dependencies": _dependencies,
    "multipleOf": _divisor,
    "uniqueItems": _flag,
    "x-copy": _copy,
    **_each(("allOf", "anyOf", "oneOf", "prefixItems"), _schemas),
    **_each(("if", "then", "else", *UNEVALUATED), _schema),
    **_each(("properties", "patternProperties", "dependentSchemas"), _named),
    **_each(("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"), _count),
    **_each(("minimum", "maximum"), _number),
    **_each(("exclusiveMinimum", "exclusiveMaximum"), _open_bound),
    **_each(("pattern", "format", "$id", "$ref", "$anchor", "$dynamicAnchor"), _text),
}  # fmt: skip
