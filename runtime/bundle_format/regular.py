"""Opening the files of a bundle: regular files only, reached without a link and without waiting."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Final

_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def open_regular(path: Path) -> BufferedReader:
    """A regular file, open for reading.

    A bundle's folder may be reached through links; its files may be none, so that a bundle from elsewhere cannot have
    other files read in place of its own, and no pipes or devices, which could be waited for without end.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    handle = os.open(path, _FLAGS)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(None, "not a regular file", os.fspath(path))
    return open(handle, "rb")
