"""JSON Schema (draft 2020-12) of the config language, from the fields of the sections."""

from __future__ import annotations

import typing
from typing import Any

from chimerac.frontends.config.fields import Key, fields_of, is_mapping, is_section, is_union, without_none
from chimerac.frontends.config.model import ModelConfig
from chimerac.frontends.config.sections.directives import Directives

_SCALARS = {bool: "boolean", int: "integer", float: "number", str: "string"}
_QUANTITY = {"type": "string", "pattern": r"^[0-9]{1,15}(\.[0-9]{1,9})?\s*[KMBGT]?$"}


def json_schema() -> dict[str, Any]:
    """The schema of a config file in plain JSON, directives included.

    ``extends`` may supply any key, so none is required where it is present.
    """
    whole = _section(ModelConfig)
    required = whole.pop("required")
    whole["properties"] |= _section(Directives)["properties"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "chimerac config",
        "description": "A Chimera language model: its layers, its memory and how it is run.",
        **whole,
        "anyOf": [{"required": ["extends"]}, {"required": required}],
    }


def _section(section: type) -> dict[str, Any]:
    properties = {}
    for item in fields_of(section):
        only = item.key.only
        schema = _type(without_none(item.type)[0], item.key) if only is None else {"const": only}
        if not item.required:
            schema = {"anyOf": [schema, {"type": "null"}]}
        schema["description"] = item.key.doc
        if isinstance(item.default, (bool, int, float, str)):
            schema["default"] = item.default
        properties[item.name] = schema
    result: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": properties}
    if required := [item.name for item in fields_of(section) if item.required]:
        result["required"] = required
    return result


def _type(wanted: Any, key: Key) -> dict[str, Any]:
    if is_union(wanted):
        return {"anyOf": [_type(part, key) for part in typing.get_args(wanted)]}
    if is_section(wanted):
        return _section(wanted)
    if is_mapping(wanted):
        values = _type(typing.get_args(wanted)[1], key)
        return {"type": "object", "additionalProperties": {"anyOf": [values, {"type": "null"}]} if values else {}}
    if typing.get_origin(wanted) is tuple:
        return _tuple(typing.get_args(wanted), key)
    if wanted is Any:
        return {}
    return _scalar(wanted, key)


def _tuple(parts: tuple[Any, ...], key: Key) -> dict[str, Any]:
    if parts[-1] is Ellipsis:
        item = _type(parts[0], key)
        schema: dict[str, Any] = {"type": "array", "items": item}
        return {"anyOf": [schema, item]} if key.single else schema
    items = [_type(part, key) for part in parts]
    return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}


def _scalar(wanted: type, key: Key) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _SCALARS[wanted]}
    if wanted is str:
        if key.choices:
            schema["enum"] = list(key.choices)
        if key.pattern:
            schema["pattern"] = f"^(?:{key.pattern})$"
    elif wanted in (int, float):
        limits = {"minimum": key.minimum, "maximum": key.maximum, "exclusiveMinimum": key.above}
        schema |= {name: value for name, value in limits.items() if value is not None}
        if wanted is int and key.quantity:
            return {"anyOf": [schema, dict(_QUANTITY)]}
    return schema
