"""Ending the process behind a session."""

from __future__ import annotations

import contextlib
import subprocess
from typing import Any

PATIENCE = 5  #: seconds that a process gets to end by itself


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
