"""The names of a home: what a prompt begins with, and the lists that grammars copy from. JavaScript has the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chimerac.runtime.arguments import MOST_NAME_BYTES, checked_lists, checked_names, kind, shown
from chimerac.runtime.errors import BundleError

#: Signs that part names in the prefix; in a name they are a space there.
_SIGNS: Final = re.compile("[=:,;|^]")
_ENTITY: Final = ("name", "aliases", "domain", "area")
_PLACE: Final = ("name", "aliases")
MOST_NAMES: Final = 4096


@dataclass(frozen=True)
class Names:
    """What a session is told of a home.

    Attributes:
        prefix: the text before each request: ``^ground floor,first floor=upstairs;kitchen=galley:light ceiling lamp=big
            light,switch kettle;:vacuum robot;|``, floors, areas in their order with what is in them, then what is in
            none. Aliases follow their name.
        lists: ``names``, ``areas`` and ``floors``, where there are some, each once, as ``GenerateOptions.lists`` has
            them: what answers call things, and after tabs what requests call them, too.
    """

    prefix: str
    lists: Mapping[str, tuple[str, ...]]


def names_of(home: Any) -> Names:
    """Read ``{"entities": [{"name", "aliases", "domain", "area"}], "areas": [{"name", "aliases"}], "floors": [...]}``.

    Floors are as areas. Only names are required; an area or a floor may be its name alone. Raises BundleError CHM420
    for anything else.
    """
    if not isinstance(home, Mapping):
        raise BundleError("CHM420", f"the names are {kind(home)}, not an object with entities and areas")
    checked_names(map(str, home), ("entities", "areas", "floors"), "key")
    areas = [_row(f"areas[{n}]", one, _PLACE) for n, one in enumerate(_listed("areas", home.get("areas", [])))]
    entities = [
        _row(f"entities[{n}]", one, _ENTITY) for n, one in enumerate(_listed("entities", home.get("entities", [])))
    ]
    floors = [_row(f"floors[{n}]", one, _PLACE) for n, one in enumerate(_listed("floors", home.get("floors", [])))]
    groups: dict[str, list[str]] = {row["name"]: [] for row in areas}
    heads = {row["name"]: _said(row) for row in areas}
    for row in entities:
        head = f"{_plain(row['domain'])} " if row.get("domain") else ""
        groups.setdefault(row.get("area") or "", []).append(head + _said(row))
    parts = [
        f"{heads.get(area, _plain(area))}:{','.join(groups[area])};" for area in sorted(groups, key=lambda a: not a)
    ]
    if floors:
        parts.insert(0, f"^{','.join(map(_said, floors))};")
    others = {row["name"]: row.get("aliases", ()) for row in areas}
    named = [{"name": area, "aliases": others.get(area, ())} for area in groups if area]
    rows = {what: own for what, own in (("names", entities), ("areas", named), ("floors", floors)) if own}
    checked_lists({what: [row["name"] for row in own] for what, own in rows.items()})
    return Names("".join(parts) + "|" if parts else "", {what: _lines(own) for what, own in rows.items()})


def _lines(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Each name once, with the other names of all that have it."""
    called: dict[str, list[str]] = {}
    for row in rows:
        called.setdefault(row["name"], []).extend(filter(_can_be_said, row.get("aliases", ())))
    return tuple("\t".join((name, *others)) for name, others in called.items())


def _can_be_said(alias: str) -> bool:
    """Whether a list can have it: of 1 to 255 bytes, no control characters, no space before it."""
    signs = not any(ord(sign) < 0x20 or ord(sign) == 0x7F for sign in alias)
    return signs and not alias.startswith(" ") and 1 <= len(alias.encode(errors="replace")) <= MOST_NAME_BYTES


def _listed(what: str, given: Any) -> Sequence[Any]:
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        raise BundleError("CHM420", f"{what} is {kind(given)}, not a list")
    if len(given) > MOST_NAMES:
        raise BundleError("CHM420", f"{len(given)} {what} are over the limit of {MOST_NAMES}")
    return given


def _row(place: str, given: Any, keys: Sequence[str]) -> dict[str, Any]:
    row = {"name": given} if isinstance(given, str) else given
    if not isinstance(row, Mapping):
        raise BundleError("CHM420", f"{place} is {kind(given)}, not an object with a name")
    checked_names(map(str, row), keys, f"key of {place}")
    for key, value in row.items():
        texts = _listed(f"{place}.{key}", value) if key == "aliases" else [value]
        for text in texts:
            if not isinstance(text, str) or (key == "name" and not text.strip()):
                raise BundleError(
                    "CHM420", f"{place}.{key} is {kind(text) if key != 'name' else shown(text)}, not a name"
                )
    if "name" not in row:
        raise BundleError("CHM420", f"{place} has no name")
    return {key: value.strip() if isinstance(value, str) else value for key, value in row.items()}


def _said(row: Mapping[str, Any]) -> str:
    return "=".join(map(_plain, (row["name"], *row.get("aliases", ()))))


def _plain(name: str) -> str:
    return " ".join(_SIGNS.sub(" ", name).split())
