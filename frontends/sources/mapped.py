"""Parts of large files, mapped for as long as an array of them lives: a file read part by part fills no memory."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.runtime.bundle_format.regular import open_input


def mapped_part(file: Path, offset: int, size: int) -> np.ndarray:
    """Bytes of a file, u8 [size]; the file was seen to have them.

    Raises:
        UserError CHM230: the file can't be read any more, or has become shorter.
    """
    if not size:
        return np.empty(0, np.uint8)
    begin = offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
    try:
        with open_input(file) as stream:
            window = mmap.mmap(stream.fileno(), offset - begin + size, access=mmap.ACCESS_READ, offset=begin)
    except (OSError, ValueError) as error:
        raise UserError("CHM230", f"can't read {file}: {error}", hint="it has changed since it was opened") from error
    return np.frombuffer(window, np.uint8, size, offset - begin)


def mapped_file(file: Path) -> memoryview:
    """A whole file, for reading what it begins with.

    Raises:
        UserError CHM230: the file can't be read.
    """
    try:
        with open_input(file) as stream:
            size = stream.seek(0, 2)
            return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if size else b"")
    except (OSError, ValueError) as error:
        raise UserError("CHM230", f"can't read {file}: {getattr(error, 'strerror', None) or error}") from error
