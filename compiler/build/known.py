"""The bundles that this user has built, or was told about, by what is in them: a native bundle is a program.

A bundle is known by the SHA-256 of its manifest, which lists those of its files. Notes are empty files in the cache
folder of the user, out of reach of whoever may put a bundle into a project's ``dist``.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Literal

from chimerac.runtime.bundle_format import MANIFEST_NAME
from chimerac.runtime.bundle_format.compared import cache_directory
from chimerac.runtime.bundle_format.regular import open_regular

Note = Literal["built", "announced"]


def note(bundle: Path, what: Note) -> None:
    """Note a bundle as built here or announced; where nothing can be noted, it is not."""
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: there is no home folder
        place = _place(bundle, what)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()


def is_noted(bundle: Path, what: Note) -> bool:
    """Whether a bundle, as it is now, was noted so."""
    try:
        return _place(bundle, what).exists()
    except (OSError, RuntimeError):
        return False


def _place(bundle: Path, what: Note) -> Path:
    with open_regular(bundle / MANIFEST_NAME) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return cache_directory() / "bundles" / f"{digest}.{what}"
