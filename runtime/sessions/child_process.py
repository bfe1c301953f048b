"""A session whose bundle runs in a process of its own, and the end of that process."""

from __future__ import annotations

import contextlib
import subprocess
from typing import AnyStr, Generic

from chimerac.runtime.errors import BundleError
from chimerac.runtime.sessions.interface import Session

PATIENCE = 5  #: seconds that a process gets to end by itself


class ChildSession(Session, Generic[AnyStr]):
    """What sessions share that talk to a process, as text or bytes, over its standard input and output."""

    _process: subprocess.Popen[AnyStr] | None = None

    def _running(self) -> subprocess.Popen[AnyStr]:
        if self._process is None:
            raise BundleError("CHM421", "the session is closed")
        return self._process

    @property
    def process_id(self) -> int:
        return self._running().pid

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            _end(process)


def _end(process: subprocess.Popen[AnyStr]) -> None:
    """Close its pipes, which asks it to end, wait, and kill it if it does not."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    try:
        process.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
