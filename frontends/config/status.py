"""What the keys of a config do today: their statuses, and what a config enables that no compiler makes yet."""

from __future__ import annotations

import re
import typing
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from chimerac.frontends.config.fields import STATUSES, FieldInfo, Status, fields_of, is_section, without_none
from chimerac.frontends.config.model import ModelConfig


def inner_section(kind: Any) -> type | None:
    """The section that a type is, or holds a list of, or may be."""
    kind, _ = without_none(kind)
    if is_section(kind):
        return typing.cast(type, kind)
    for part in typing.get_args(kind):
        if is_section(part):
            return typing.cast(type, part)
    return None


def statuses(section: type = ModelConfig, path: str = "", inherited: Status | None = None) -> dict[str, Status]:
    """Dotted path of every key that holds a value → its status; items of lists have no number in it."""
    found: dict[str, Status] = {}
    for item in fields_of(section):
        where, status = f"{path}.{item.name}" if path else item.name, item.status(inherited)
        inner = inner_section(item.type)
        if inner is not None:
            found |= statuses(inner, where, status)
        else:
            assert status is not None, f"{where} has no status"
            found[where] = status
    return found


def written(config: ModelConfig) -> Mapping[Status, int]:
    """How many keys of each status the config and its bases write."""
    known = statuses()
    paths = {re.sub(r"\.\d+(?=\.|$)", "", path) for path in config.origin.places}
    counts = Counter(known[path] for path in paths if path in known)
    return {status: counts[status] for status in STATUSES}


def absent(config: ModelConfig) -> tuple[str, ...]:
    """Paths of what the config enables and no compiler makes yet; a section that is absent as a whole stands once."""
    return tuple(_absent(config, "", None))


def not_compiled(names: tuple[str, ...]) -> str:
    """The one sentence about ``absent``; empty when there is nothing to say."""
    return f"enabled, not compiled yet: {', '.join(names)}" if names else ""


def _absent(section: Any, path: str, inherited: Status | None) -> Iterator[str]:
    for item in fields_of(type(section)):
        where, status = f"{path}.{item.name}" if path else item.name, item.status(inherited)
        value = getattr(section, item.attribute)
        if is_section(type(value)) and status != "not yet":
            if getattr(value, "enabled", True):
                yield from _absent(value, where, status)
        elif status == "not yet" and _is_enabled(value, item):
            yield where


def _is_enabled(value: Any, item: FieldInfo | None = None) -> bool:
    """Whether a part is there: its ``enabled``, or any of its switches, numbers and lists that is not as by default.

    Texts alone enable nothing: they name files and describe.
    """
    if not is_section(type(value)):
        default = None if item is None else item.default
        return bool(value) and value != default and not isinstance(value, str)
    if hasattr(value, "enabled"):
        return bool(value.enabled)
    inside = ((getattr(value, part.attribute), part) for part in fields_of(type(value)) if _can_enable(part))
    return any(_is_enabled(one, part) for one, part in inside)


def _can_enable(item: FieldInfo) -> bool:
    """Keys with a status of their own don't speak for their section: papers, claims, what is only compared."""
    return item.status("not yet") == "not yet"
