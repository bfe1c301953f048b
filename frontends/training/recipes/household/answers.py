"""The JSON Schema of answers, made of the package's own templates: what each slot of each intent may hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from chimerac.frontends.training.recipes.home.templates import Package, slots_of
from chimerac.frontends.training.recipes.household.drawing import AMBIGUOUS, NO_DEVICE, REFUSED, copied_from, open_slot

MOST_ACTIONS = 3


def answer_schema(packages: Iterable[Package]) -> dict[str, Any]:
    """One action, or a list of two or three.

    Names of things and areas are those of the home, other open values words of the request; where the templates of some
    language have a slot from both, it is words of the request. Closed values are those of all languages.
    """
    slots: dict[str, dict[str, dict[str, Any]]] = {NO_DEVICE: {}, REFUSED: {}, AMBIGUOUS: {"name": {"x-copy": "names"}}}
    for package in packages:
        for template in package.templates:
            own = slots.setdefault(template.intent, {})
            for name, value in template.fixed.items():
                _join(own, name, _closed([value]))
            for slot in slots_of(template.tree):
                copied = copied_from(package, slot.slot, slot.list_name)
                named = open_slot(slot.slot, slot.list_name) if copied == "request" else slot.slot
                _join(own, named, {"x-copy": copied} if copied else _said(package.lists[slot.list_name]))
    actions = [_action(intent, own, needs=intent == AMBIGUOUS) for intent, own in sorted(slots.items())]
    several = {"type": "array", "items": {"$ref": "#/$defs/action"}, "minItems": 2, "maxItems": MOST_ACTIONS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What is to be done: an action, or several",
        "anyOf": [{"$ref": "#/$defs/action"}, several],
        "$defs": {"action": {"anyOf": actions}},
    }


def _action(intent: str, slots: Mapping[str, Any], *, needs: bool) -> dict[str, Any]:
    held = {name: _written(what) for name, what in sorted(slots.items())}
    inner: dict[str, Any] = {"type": "object", "properties": held, "additionalProperties": False}
    if needs:
        inner["required"] = list(held)
    return {
        "type": "object",
        "properties": {"intent": {"const": intent}, "slots": inner},
        "required": ["intent", "slots"],
        "additionalProperties": False,
    }


def _said(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a list of fixed values may hold: {"values"} or {"numbers"}."""
    if "range" in content:
        return {"numbers": True}
    return _closed([row if isinstance(row, str) else row["out"] for row in content["values"]])


def _closed(values: Iterable[Any]) -> dict[str, Any]:
    rows = [one for value in values for one in (value if isinstance(value, list) else [value])]
    numbers = any(isinstance(one, int | float) and not isinstance(one, bool) for one in rows)
    texts = {one: True for one in rows if isinstance(one, str | bool)}
    return {"values": texts} | ({"numbers": True} if numbers else {})


def _join(own: dict[str, dict[str, Any]], slot: str, what: Mapping[str, Any]) -> None:
    """Let a slot hold what it held, and more."""
    held = own.setdefault(slot, {})
    if held and ("x-copy" in held) and held["x-copy"] != what.get("x-copy", held["x-copy"]):
        held["x-copy"] = "request"
    elif "x-copy" in what:
        held["x-copy"] = what["x-copy"]
    if what.get("numbers"):
        held["numbers"] = True
    held.setdefault("values", {}).update(what.get("values", {}))


def _written(what: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a slot. Raises ValueError for one that is copied and fixed: a grammar cannot tell these apart."""
    if "x-copy" in what and what.get("values"):
        raise ValueError(f"copied, and one of {sorted(map(str, what['values']))[:9]}")
    options: list[dict[str, Any]] = []
    if "x-copy" in what:
        options.append({"type": "string", "x-copy": what["x-copy"]})
    elif what.get("values"):
        options.append({"enum": sorted(what["values"], key=str)})
    if what.get("numbers"):
        options.append({"type": "number"})
    return options[0] if len(options) == 1 else {"anyOf": options}
