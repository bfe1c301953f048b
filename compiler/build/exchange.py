"""Two paths change places in one step of the file system, and folders that are on disk before they do."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

#: The current folder, for calls that take a folder beside a path.
_HERE = -100
_RENAME_EXCHANGE = 2  # linux/fs.h
_RENAME_SWAP = 2  # macOS, sys/stdio.h


def exchange(one: Path, other: Path) -> bool:
    """Let two existing paths change places at once; False where the system or the file system has no such step.

    Uses ``renameat2`` with ``RENAME_EXCHANGE`` on Linux and ``renamex_np`` with ``RENAME_SWAP`` on macOS.

    Raises:
        OSError: it has, but the paths cannot be exchanged.
    """
    if sys.platform == "win32":
        return False
    first, second = os.fsencode(one), os.fsencode(other)
    library = ctypes.CDLL(None, use_errno=True)
    try:
        if sys.platform == "darwin":
            failed = library.renamex_np(first, second, _RENAME_SWAP)
        else:
            failed = library.renameat2(_HERE, first, _HERE, second, _RENAME_EXCHANGE)
    except AttributeError:  # an older C library
        return False
    if not failed:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), os.fspath(other))


def sync_tree(folder: Path) -> None:
    """Have everything in a folder, and the folder itself, written to disk."""
    for path, _, files in os.walk(folder, topdown=False):
        for name in files:
            sync(Path(path) / name)
        sync(Path(path))


def sync(path: Path) -> None:
    """Have a file or the names in a folder written to disk; where folders cannot be opened, only files are."""
    if sys.platform == "win32" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
