"""C sources that a build defines macros for: those that mention one; all others are compiled once for every build.

A flag of the compiler would make every source another one: modules that differ in a macro share what it does not reach.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path

from chimerac.runtime.bundle_format import cache_directory


def defining(sources: Sequence[Path], definitions: Sequence[str]) -> list[Path]:
    """The sources, in their order; in place of one that mentions a macro, a file that defines it and includes it.

    These files lie in the cache under names that follow from what is in them, so that what zig keeps of them is found.

    Args:
        sources: C files, each in a folder of the include path.
        definitions: macros, as ``NAME=value``.
    """
    values = dict(definition.split("=", 1) for definition in definitions)
    return [_defining(source, values) for source in sources]


def _defining(source: Path, values: dict[str, str]) -> Path:
    words = set(re.findall(r"\w+", source.read_text(encoding="utf-8")))
    lines = [f"#define {name} {value}\n" for name, value in values.items() if name in words]
    if not lines:
        return source
    text = "".join(lines) + f"#include <{source.name}>\n"  # in quotes it would be this file
    folder = cache_directory() / "zig" / "defining" / hashlib.sha256(text.encode()).hexdigest()[:16]
    place = folder / source.name
    if not place.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # modules are linked by several threads at a time
        unfinished = folder / f"{source.name}.{os.getpid()}.{threading.get_ident()}"
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(place)
    return place
