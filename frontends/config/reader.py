"""A parsed tree to typed sections, with all mistakes of a config reported together."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chimerac.compiler.errors import MAX_ERRORS, Span, UserError, UserErrors, did_you_mean
from chimerac.frontends.config.fields import (
    FieldInfo,
    Key,
    fields_of,
    is_mapping,
    is_section,
    is_union,
    plain,
    without_none,
)
from chimerac.frontends.config.tree import Array, Node, Object, Scalar, kind

_SUFFIX = {
    "decimal": {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "G": 10**9, "T": 10**12},
    "binary": {"": 1, "K": 1 << 10, "M": 1 << 20, "B": 1 << 30, "G": 1 << 30, "T": 1 << 40},
}
_QUANTITY = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,9}))?\s*([KMBGT]?)")
_REFUSED = object()

MAX_NUMBER = 2**53  #: largest number of any kind, so that every one is exact in JSON readers


@dataclass
class Reader:
    """Reads sections from one tree.

    null stands for a key's default, and removes an entry of a map. ``places`` and ``literals`` fill with where each
    path was written, and with sizes as they were written.
    """

    errors: list[UserError] = field(default_factory=list)
    places: dict[str, Span] = field(default_factory=dict)
    literals: dict[str, str] = field(default_factory=dict)

    def read(self, section: type, tree: Object) -> Any:
        """The section that a whole tree describes.

        Raises:
            UserErrors: CHM110 unknown key, CHM111 missing key, CHM112 wrong type, CHM113 value out of range.
        """
        value = self._section(section, tree, "")
        self._finish()
        return value

    def read_key(self, section: type, name: str, node: Node) -> Any:
        """The value of one key of a section, on its own. Raises like ``read``."""
        item = next(item for item in fields_of(section) if item.name == name)
        value = self._field(item, node, name)
        self._finish()
        return value

    def _finish(self) -> None:
        if self.errors:
            ordered = sorted(self.errors, key=lambda error: _order(error.span))
            raise UserErrors(ordered) if len(ordered) > 1 else ordered[0]

    def _section(self, section: type, tree: Object, path: str) -> Any:
        known = {item.name: item for item in fields_of(section)}
        for name, entry in tree.entries.items():
            if name not in known:
                self._unknown(name, entry.span, known, path)
        values: dict[str, Any] = {}
        missing: list[FieldInfo] = []
        complete = True
        for name, item in known.items():
            found = tree.get(name)
            if found is None:
                if item.required:
                    missing.append(item)
                continue
            where = f"{path}.{name}" if path else name
            value = self._field(item, found, where)
            if value is _REFUSED:
                complete = False
            else:
                values[item.attribute] = value
        if missing:
            self._missing(missing, tree.span, path)
        return section(**values) if complete and not missing else _REFUSED

    def _missing(self, missing: list[FieldInfo], span: Span, path: str) -> None:
        inside = f" of {path!r}" if path else ""
        listed = ", ".join(repr(item.name) for item in missing)
        words, verb = ("keys", "are") if len(missing) > 1 else ("key", "is")
        hint = missing[0].key.doc if len(missing) == 1 else None
        if not path:
            hint = f"{hint or ''} A config that extends another needs no key.".strip()
        self.errors.append(UserError("CHM111", f"the {words} {listed}{inside} {verb} missing", span=span, hint=hint))

    def _unknown(self, name: str, span: Span, known: dict[str, FieldInfo], path: str) -> None:
        inside = f" in {path!r}" if path else ""
        if len(self.errors) >= MAX_ERRORS:  # looking for near names takes long
            self.errors.append(UserError("CHM110", f"unknown key {name!r}{inside}", span=span))
            return
        hint = 'dotted keys stand in the "overrides" block' if "." in name else did_you_mean(name, known)
        self.errors.append(UserError("CHM110", f"unknown key {name!r}{inside}", span=span, hint=hint))

    def _field(self, item: FieldInfo, node: Node, path: str) -> Any:
        wanted, optional = without_none(item.type)
        if isinstance(node, Scalar) and node.value is None:
            self.places[path] = node.span
            if optional:
                return None
            if not item.required:
                return item.default
            return self._wrong(node, path, _expected(wanted, item.key))
        value = self._value(wanted, item.key, node, path)
        if item.key.only is None or value is _REFUSED or plain(value) == item.key.only:
            return value
        self._range(node, f"{path!r} can only be {json.dumps(item.key.only)}", item.key.doc)
        return _REFUSED

    def _value(self, wanted: Any, key: Key, node: Node, path: str) -> Any:
        self.places[path] = node.span
        if is_section(wanted):
            if isinstance(node, Object):
                return self._section(wanted, node, path)
        elif is_mapping(wanted):
            if isinstance(node, Object):
                return self._mapping(typing.get_args(wanted)[1], key, node, path)
        elif is_union(wanted):
            return self._union(wanted, key, node, path)
        elif typing.get_origin(wanted) is tuple:
            return self._tuple(wanted, key, node, path)
        elif isinstance(node, Scalar):
            return self._scalar(wanted, key, node, path)
        return self._wrong(node, path, _expected(wanted, key))

    def _mapping(self, wanted: Any, key: Key, node: Object, path: str) -> Any:
        values = {}
        for name, entry in node.entries.items():
            if isinstance(entry.node, Scalar) and entry.node.value is None:
                continue
            value = self._value(wanted, key, entry.node, f"{path}.{name}")
            if value is _REFUSED:
                return _REFUSED
            values[name] = value
        return values

    def _union(self, wanted: Any, key: Key, node: Node, path: str) -> Any:
        """A union is of fixed-length tuples, told apart by length, or of scalars and one section."""
        for part in typing.get_args(wanted):
            if typing.get_origin(part) is tuple:
                if isinstance(node, Array) and len(typing.get_args(part)) == len(node.items):
                    return self._tuple(part, key, node, path)
            elif is_section(part):
                if isinstance(node, Object):
                    return self._section(part, node, path)
            elif isinstance(node, Scalar) and _fits(part, node.value):
                return self._scalar(part, key, node, path)
        return self._wrong(node, path, _expected(wanted, key))

    def _tuple(self, wanted: Any, key: Key, node: Node, path: str) -> Any:
        parts = typing.get_args(wanted)
        if isinstance(node, Scalar) and key.single:
            node = Array((node,), node.span)
        if not isinstance(node, Array):
            return self._wrong(node, path, _expected(wanted, key))
        if parts[-1] is Ellipsis:
            kinds = [parts[0]] * len(node.items)
        elif len(parts) == len(node.items):
            kinds = list(parts)
        else:
            return self._wrong(node, path, _expected(wanted, key))
        values = [
            self._value(part, key, item, f"{path}.{index}")
            for index, (part, item) in enumerate(zip(kinds, node.items, strict=True))
        ]
        return _REFUSED if any(value is _REFUSED for value in values) else tuple(values)

    def _scalar(self, wanted: Any, key: Key, node: Scalar, path: str) -> Any:
        value = node.value
        if wanted is int and key.quantity and isinstance(value, str):
            self.literals[path] = value
            value = parse_quantity(value, key.quantity)
        if wanted is int and isinstance(value, float) and value.is_integer() and abs(value) <= MAX_NUMBER:
            value = int(value)
        if wanted is float and type(value) is int and abs(value) <= MAX_NUMBER:
            value = float(value)
        if value is None or not _fits(wanted, value):
            return self._wrong(node, path, _expected(wanted, key))
        return value if self._allowed(key, value, node, path) else _REFUSED

    def _allowed(self, key: Key, value: Any, node: Scalar, path: str) -> bool:
        if isinstance(value, str):
            if key.choices and value not in key.choices:
                hint = did_you_mean(value, key.choices) or f"one of {', '.join(key.choices)}"
                return self._range(node, f"{path!r} can't be {value!r}", hint)
            if key.pattern and not re.fullmatch(key.pattern, value):
                return self._range(node, f"{value!r} is not a valid {path!r}", f"it must match {key.pattern}")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            if abs(value) > MAX_NUMBER:
                return self._range(node, f"{path!r} is too large a number", key.doc)
            if key.minimum is not None and value < key.minimum:
                return self._range(node, f"{path!r} is {value:g}, below its least value {key.minimum:g}", key.doc)
            if key.maximum is not None and value > key.maximum:
                return self._range(node, f"{path!r} is {value:g}, over its largest value {key.maximum:g}", key.doc)
            if key.above is not None and value <= key.above:
                return self._range(node, f"{path!r} is {value:g}; it must be greater than {key.above:g}", key.doc)
        return True

    def _range(self, node: Node, message: str, hint: str) -> bool:
        self.errors.append(UserError("CHM113", message, span=node.span, hint=hint))
        return False

    def _wrong(self, node: Node, path: str, expected: str) -> Any:
        hint = None
        if isinstance(node, Scalar) and isinstance(node.value, str) and expected.startswith(("a number", "a whole")):
            hint = "numbers stand without quotes"
        message = f"{path!r} must be {expected}, not {kind(node)}"
        self.errors.append(UserError("CHM112", message, span=node.span, hint=hint))
        return _REFUSED


def nearest_place(places: Mapping[str, Span], path: str) -> Span | None:
    """Where the value at a dotted path is written, or the nearest part of the path that is."""
    parts = path.split(".")
    while parts:
        if span := places.get(".".join(parts)):
            return span
        parts.pop()
    return None


def parse_quantity(text: str, base: str) -> int | None:
    """``"350M"`` as a count; suffixes K, M, B or G, T. None for anything else or a fraction of one."""
    match = _QUANTITY.fullmatch(text.strip())
    if not match:
        return None
    whole, fraction, suffix = match.group(1), match.group(2) or "", match.group(3)
    scaled = int(whole + fraction) * _SUFFIX[base][suffix]
    unit = 10 ** len(fraction)
    return scaled // unit if scaled % unit == 0 else None


def _fits(wanted: Any, value: Any) -> bool:
    return type(value) is wanted


def _expected(wanted: Any, key: Key) -> str:
    """A type in words."""
    if is_union(wanted):
        return " or ".join(_expected(part, key) for part in typing.get_args(wanted))
    if typing.get_origin(wanted) is tuple:
        parts = typing.get_args(wanted)
        if parts[-1] is Ellipsis:
            return f"a list, each item {_expected(parts[0], key)}"
        return f"a list of {len(parts)}: {', '.join(_expected(part, key) for part in parts)}"
    if is_section(wanted) or is_mapping(wanted):
        return "an object"
    if wanted is int and key.quantity:
        return 'a whole number or a size like "350M"'
    return {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}[wanted]


def _order(span: Span | None) -> tuple[str, int, int]:
    return (span.file, span.line, span.column) if span else ("", 0, 0)
