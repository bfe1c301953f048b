"""The process behind a session: lines to it, lines from it, and its end."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

PATIENCE = 5  #: seconds that a process gets to end by itself


class Child:
    """A program that answers lines with lines.

    A signal from the keyboard does not reach it: the session decides what is to be done about it.
    """

    def __init__(self, command: Sequence[str], ended: Callable[[int], Exception]) -> None:
        """Start it; ``ended`` makes an error of the status with which it has ended. Raises OSError."""
        self._ended = ended
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
        )

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def write(self, line: str) -> None:
        """Send a line; raises what ``ended`` makes."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):  # ValueError: it was closed here
            raise self._ended(self._process.wait()) from None

    def read(self) -> str:
        """The next line, without its end; raises what ``ended`` makes. A signal may make it lose a line."""
        assert self._process.stdout is not None
        try:
            line = self._process.stdout.readline()
        except ValueError:  # as above
            line = b""
        if not line.endswith(b"\n"):
            raise self._ended(self._process.wait())
        return line[:-1].decode("utf-8", "replace")

    def kill(self) -> None:
        """End it at once; what reads from it in another thread comes back."""
        self._process.kill()

    def end(self) -> None:
        """Close its pipes, which asks it to end, wait, and kill it if it does not."""
        end_process(self._process)


def end_process(process: subprocess.Popen[Any]) -> None:
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
