"""A hidden folder beside a bundle, in which the bundle is made; those of builds that were killed are cleared away."""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from chimerac.compiler.build.places import restore

#: Where in the folder the older bundle lies while the new one takes its place.
ASIDE_NAME = "old"
#: Held by the build that works in the folder, for as long as its process lives.
LOCK_NAME = "in-use"

_MOST_TRIES: Final = 16


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
    for left in bundle.parent.iterdir():
        own = left.name.startswith(prefix) and "." not in left.name[len(prefix) :]  # .a.wasm.b.wasm.… is b's
        if own and left.is_dir() and not left.is_symlink():
            _clear(left, bundle)
    for _ in range(_MOST_TRIES):
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=bundle.parent))
        try:
            with _locked(folder / LOCK_NAME) as is_own:
                if is_own:
                    yield folder
                    return
        finally:
            _remove(folder)
    raise OSError(errno.EAGAIN, "other builds keep clearing the folder away", str(bundle.parent))


def _clear(left: Path, bundle: Path) -> None:
    """Remove a folder that a killed build left, if it is one; its lock is held meanwhile."""
    try:
        handle = os.open(left / LOCK_NAME, os.O_RDWR)
    except FileNotFoundError:
        # killed before it made its lock, or after it removed it, so the folder is empty, or it is somebody else's; one
        # that is about to make its lock finds its folder gone and makes another
        with contextlib.suppress(OSError):
            left.rmdir()
        return
    except OSError:
        return
    try:
        if _take(handle) is _Lock.OWN:
            restore(bundle, left / ASIDE_NAME)
            _remove(left)
    finally:
        os.close(handle)


def _remove(folder: Path) -> None:
    """Remove a folder as far as that is allowed, the lock last: one killed here leaves what the next build knows."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            elif entry.name != LOCK_NAME:
                os.unlink(entry.path)
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Make a lock and hold it; False if another build has taken the folder for one that was left."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        yield False
        return
    try:
        yield _take(handle) is not _Lock.TAKEN and _is_at(handle, path)
    finally:
        os.close(handle)


class _Lock(enum.Enum):
    """What became of the try to take a lock."""

    OWN = enum.auto()
    TAKEN = enum.auto()
    UNKNOWN = enum.auto()  #: there are no such locks here


def _take(handle: int) -> _Lock:
    """Take a lock without waiting."""
    if sys.platform == "win32":
        return _Lock.UNKNOWN
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _Lock.TAKEN
    except OSError:
        return _Lock.UNKNOWN
    return _Lock.OWN


def _is_at(handle: int, path: Path) -> bool:
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
