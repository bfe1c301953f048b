"""Snapshots that are changed and have valid checksums again: what somebody who means harm would write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from chimerac.runtime import bundle_format as bf

OWN_KEYS = ("chimera.kind", "chimera.abi", "chimera.contents_sha256", "chimera.sections")


def changed(
    snapshot: bytes,
    sections: Mapping[str, NDArray[Any] | None] | None = None,
    metadata: Mapping[str, str] | None = None,
    kind: str = "state",
) -> bytes:
    """The snapshot with other, more or (None) fewer sections, in their old order, and other metadata."""
    container = bf.parse_container(snapshot)
    arrays: dict[str, NDArray[Any] | None] = {name: container.array(name) for name in container.sections}
    arrays |= sections or {}
    kept = {key: text for key, text in container.metadata.items() if key not in OWN_KEYS} | dict(metadata or {})
    return bf.container_bytes(
        kind, [bf.array_section(name, array) for name, array in arrays.items() if array is not None], kept
    )


def with_number(snapshot: bytes, section: str, index: int, value: int) -> bytes:
    """The snapshot with another number in a section."""
    array = bf.parse_container(snapshot).array(section).copy()
    array[index] = value
    return changed(snapshot, {section: array})
