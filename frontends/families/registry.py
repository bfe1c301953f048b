"""The families by the ``model_type`` of their descriptions. None of them is loaded before it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from chimerac.compiler.errors import Span, UserError, did_you_mean
from chimerac.frontends.families.protocol import Family

#: Of a description that does not say.
DEFAULT = "chimera51"
#: Group of entry points under which installed packages offer families: name → a function that returns one.
ENTRY_POINTS = "chimerac.families"

AnyFamily = Family[Any]


def _chimera() -> AnyFamily:
    from chimerac.frontends.families.chimera.family import FAMILY

    return FAMILY


def _n4() -> AnyFamily:
    from chimerac.frontends.families.n4.family import FAMILY

    return FAMILY


def _nonu() -> AnyFamily:
    from chimerac.frontends.families.nonu.family import FAMILY

    return FAMILY


#: A new family of chimerac's own is a folder here and an entry.
FAMILIES: dict[str, Callable[[], AnyFamily]] = {DEFAULT: _chimera, "n4": _n4, "nonu": _nonu}


def register(name: str, family: Callable[[], AnyFamily]) -> None:
    """Add a family of another package to this process; ``entry_points`` of an installed one do it for all."""
    FAMILIES[name] = family


def family_names() -> tuple[str, ...]:
    """All known names."""
    return tuple(sorted({*FAMILIES, *(point.name for point in entry_points(group=ENTRY_POINTS))}))


def find_family(name: str, span: Span | None = None) -> AnyFamily:
    """The family of a name; ``span`` is where it is written.

    Raises:
        UserError: CHM117, there is none.
    """
    if name in FAMILIES:
        return FAMILIES[name]()
    for point in entry_points(group=ENTRY_POINTS, name=name):
        offered: Callable[[], AnyFamily] = point.load()
        return offered()
    hint = did_you_mean(name, family_names()) or f"there are {', '.join(family_names())}"
    raise UserError("CHM117", f"there is no model family {name!r}", span=span, hint=hint)
