"""A hidden folder beside a bundle, in which the bundle is made; those of builds that were killed are cleared away."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from chimerac.compiler.build.places import restore

#: Where in the folder the older bundle lies while the new one takes its place.
ASIDE_NAME = "old"
#: Held by the build that works in the folder, for as long as its process lives.
LOCK_NAME = "in-use"


@contextlib.contextmanager
def workspace(bundle: Path) -> Iterator[Path]:
    """A new folder on the file system of ``bundle``; it is gone afterwards.

    A build that is killed (SIGKILL, power) leaves its folder behind. The lock in it dies with the process, so the next
    build of the same bundle can tell it from the folder of a build that still runs, and removes it, once it has put
    back an older bundle that the killed build had moved aside.

    Raises:
        OSError: the folder cannot be made.
    """
    prefix = f".{bundle.name}."
    for left in bundle.parent.glob(f"{prefix}*"):
        if left.is_dir() and not left.is_symlink() and _abandoned(left / LOCK_NAME):
            restore(bundle, left / ASIDE_NAME)
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=bundle.parent) as folder, _locked(Path(folder) / LOCK_NAME):
        yield Path(folder)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _try_lock(handle)
        yield
    finally:
        os.close(handle)


def _abandoned(lock: Path) -> bool:
    """Whether the lock is there and nobody holds it."""
    try:
        handle = os.open(lock, os.O_RDWR)
    except OSError:
        return False
    try:
        return _try_lock(handle)
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    """Take the lock without waiting; False if it is taken, or where there are no such locks."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
