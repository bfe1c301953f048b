"""Writing a file so that it is either whole under its name or not there."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from chimerac.runtime.errors import BundleError


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write to a temporary name in the same folder, fsync, rename; raises BundleError CHM400."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
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
