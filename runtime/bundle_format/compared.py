"""Remembers large files whose SHA-256 was compared, so that not every start of a program reads them whole.

A file is the same one as long as its device, inode, size and times of change are: the time of the last change of its
inode cannot be set by programs, and is renewed by every write.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

LARGE = 64 << 20  #: bytes from which on a file is remembered
#: Seconds that a file must have been left alone before it is read: two writes in one tick of the clock look like one.
SETTLED = 2.0


def cache_directory() -> Path:
    """Where what can be made again is kept: ``CHIMERAC_CACHE``, else ``~/.cache/chimerac``."""
    chosen = os.environ.get("CHIMERAC_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chimerac"


def was_compared(status: os.stat_result, sha256: str) -> bool:
    """Whether a file of this status was found to have this SHA-256."""
    try:
        return status.st_size >= LARGE and _place(status, sha256).read_text("ascii") == _times(status)
    except (OSError, ValueError, RuntimeError):  # RuntimeError: there is no home folder
        return False


def remember(before: os.stat_result, after: os.stat_result, sha256: str) -> None:
    """Note that a file, of this status before and after it was read, has this SHA-256; where it can't be noted, not."""
    settled = time.time() - max(before.st_ctime, before.st_mtime) > SETTLED
    if before.st_size < LARGE or not settled or _times(before) != _times(after):
        return
    with contextlib.suppress(OSError, RuntimeError):
        place = _place(before, sha256)
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f"{place.name}.{os.getpid()}")
        temporary.write_text(_times(before), "ascii")
        os.replace(temporary, place)


def _place(status: os.stat_result, sha256: str) -> Path:
    return cache_directory() / "compared" / f"{sha256}.{status.st_dev:x}.{status.st_ino:x}"


def _times(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n"
