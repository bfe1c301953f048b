"""How a section declares its keys: a frozen dataclass whose fields carry their documentation and limits."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from typing import Any, Literal

Status = Literal["compiled", "training", "checked", "described", "not yet"]

#: What a key does today; ``tests/frontends/config/test_status.py`` flips every key of the document to hold it true.
STATUSES: dict[Status, str] = {
    "compiled": "changes a bundle",
    "training": "changes a training plan",
    "checked": "changes neither: `check` compares it with the rest, or a build accepts one value only",
    "described": "changes nothing and is compared with nothing",
    "not yet": "its part has no compiler yet: a build leaves it out, and says so where it is enabled",
}


@dataclass(frozen=True)
class Key:
    """What is known of one key besides its type.

    Limits, choices and pattern hold for each element where the type is a list or a map.
    """

    doc: str  #: one line: meaning, unit
    name: str | None = None  #: spelling in the config, where the field's name can't be it
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None  #: exclusive lower limit
    choices: tuple[str, ...] = ()
    pattern: str | None = None  #: regular expression that a whole string must match
    quantity: Literal["", "decimal", "binary"] = ""  #: accepts "350M"; M is 10**6 or 2**20
    single: bool = False  #: a lone value stands for a list of one
    own: bool = False  #: chimerac's own key, absent from the Chimera 5.1 document
    claim: bool = False  #: a number that follows from other keys; scaling a model drops it
    only: Any = None  #: the one value there is; any other is refused
    status: Status | None = None  #: what it does; None for a claim, which is checked, and for what its section does


def key(doc: str, *, default: Any = MISSING, factory: Callable[[], Any] | None = None, **details: Any) -> Any:
    """A dataclass field for one key; without ``default`` and ``factory`` the key is required."""
    metadata = {"key": Key(doc, **details)}
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class FieldInfo:
    """One field of a section, ready for the reader, the writer and the documentation."""

    attribute: str  #: Python name
    name: str  #: spelling in the config
    type: Any  #: resolved type
    key: Key
    required: bool
    default: Any  #: value when the key is absent; None when required

    def status(self, inherited: Status | None) -> Status | None:
        """What the key does; ``inherited`` is the status of the section that it is in."""
        return self.key.status or ("checked" if self.key.claim else inherited)


_KNOWN: dict[type, tuple[FieldInfo, ...]] = {}


def fields_of(section: type) -> tuple[FieldInfo, ...]:
    """The fields of a section in the order of their declaration."""
    if section not in _KNOWN:
        _KNOWN[section] = _read_fields(section)
    return _KNOWN[section]


def _read_fields(section: type) -> tuple[FieldInfo, ...]:
    hints = typing.get_type_hints(section)
    result = []
    for item in dataclasses.fields(section):
        details = item.metadata.get("key")
        if details is None:
            continue
        if item.default_factory is not MISSING:
            required, default = False, item.default_factory()
        else:
            required, default = item.default is MISSING, item.default
        result.append(
            FieldInfo(
                item.name,
                details.name or item.name,
                hints[item.name],
                details,
                required,
                None if required else default,
            )
        )
    return tuple(result)


def is_section(kind: Any) -> bool:
    """Whether a type is a section, i.e. an object with declared keys."""
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def without_none(kind: Any) -> tuple[Any, bool]:
    """``X | None`` as (X, True); any other type as (type, False)."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        rest = tuple(part for part in typing.get_args(kind) if part is not type(None))
        if len(rest) < len(typing.get_args(kind)):
            return (rest[0] if len(rest) == 1 else typing.Union[rest]), True  # noqa: UP007
    return kind, False


def is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (types.UnionType, typing.Union)


def is_mapping(kind: Any) -> bool:
    return typing.get_origin(kind) is Mapping


def plain(section: Any) -> Any:
    """A section as plain JSON values under the config's spelling of the keys, without keys that say nothing."""
    if is_section(type(section)):
        result = {}
        for item in fields_of(type(section)):
            value = getattr(section, item.attribute)
            if value is not None or item.default is not None:
                result[item.name] = plain(value)
        return result
    if isinstance(section, Mapping):
        return {name: plain(value) for name, value in section.items()}
    if isinstance(section, tuple):
        return [plain(value) for value in section]
    return section


def canonical_json(section: Any) -> str:
    """The one JSON text of a section: sorted, no blanks, all values resolved. Reading it gives the section back."""
    return json.dumps(plain(section), sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
