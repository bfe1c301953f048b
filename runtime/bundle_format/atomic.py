"""Writing a file so that it is either whole under its name or not there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from chimerac.runtime.bundle_format.regular import check_name
from chimerac.runtime.errors import BundleError


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[BinaryIO]:
    """A new file of another name in the same folder, renamed when the block ends well; raises BundleError CHM400.

    What is there already is replaced only if it is a regular file: no device, pipe or folder.
    """
    target = Path(path)
    try:
        check_name(target)
        taken = target.exists() and not target.is_file()
    except OSError as error:
        raise BundleError("CHM400", f"cannot write the file: {error.strerror or error}", path=target) from None
    if not target.name or taken:
        raise BundleError("CHM400", "cannot write the file: there is something that is no file", path=target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        try:
            handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
            with os.fdopen(handle, "w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        if os.name == "posix":
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        raise BundleError("CHM400", f"cannot write the file: {error.strerror or error}", path=target) from None


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write to a temporary name in the same folder, fsync, rename; raises BundleError CHM400."""
    with atomic_file(path) as file:
        file.write(data)
