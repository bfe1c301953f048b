"""Numbers of bytes for people to read."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {"": 1, "B": 1, "kB": 1000, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE: Final = re.compile(r"(\d{1,12}(?:\.\d{1,6})?) ?([kKMG]?i?B)?", re.ASCII)


def parse_size(text: str) -> int | None:
    """Bytes of ``400kB``, ``1.5 MiB`` or ``1000``; None for what is no size."""
    found = _SIZE.fullmatch(text.strip())
    unit = _UNITS.get((found[2] or "") if found else "?")
    return None if found is None or unit is None else round(float(found[1]) * unit)


def decimal_size(count: int) -> str:
    """Bytes of a file with a decimal unit: ``17 B``, ``4.2 kB``, ``1.50 GB``."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


def binary_size(count: int) -> str:
    """Bytes of memory or a cache with a binary unit: ``48 KiB``, ``1.5 MiB``."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if count >= size:
            return f"{count / size:.0f} {unit}" if count % size == 0 else f"{count / size:.1f} {unit}"
    return f"{count / 1024:.0f} KiB"
