"""Opening files: regular ones only, without waiting for what may never come."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Final

_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def open_regular(path: Path) -> BufferedReader:
    """A file of a bundle, open for reading.

    A bundle's folder may be reached through links; its files may be none, so that a bundle from elsewhere cannot have
    other files read in place of its own, and no pipes or devices, which could be waited for without end.

    Raises:
        OSError: it cannot be read, is not a regular file, or no file has such a name.
    """
    return _opened(path, _FLAGS | getattr(os, "O_NOFOLLOW", 0))


def open_input(path: str | os.PathLike[str]) -> BufferedReader:
    """A file that somebody names, open for reading. It may be a link to a regular file, no pipe and no device.

    Raises:
        OSError: it cannot be read, is not a regular file, or no file has such a name.
    """
    return _opened(path, _FLAGS)


def check_name(path: str | os.PathLike[str]) -> None:
    """Raise OSError for what is no path to anything: with a zero byte, or half of a surrogate pair."""
    try:
        fits = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        fits = False
    if not fits:
        raise OSError(errno.EINVAL, "no file has such a name", os.fspath(path))


def check_input(path: str | os.PathLike[str]) -> None:
    """``open_input`` of a file that a library opens by its name."""
    open_input(path).close()


def _opened(path: str | os.PathLike[str], flags: int) -> BufferedReader:
    check_name(path)
    handle = os.open(path, flags)
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return open(handle, "rb")
