"""Inputs made to take much time or memory, read by a process that the system holds to little of both."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence

#: Seconds of the processor and bytes beyond what the imports take, for one input: as many as a slow machine needs.
SECONDS = 20
MEMORY = 256 << 20
Case = tuple[str, str]  #: a reader and the name of an input


def outcomes(script: str, cases: Sequence[Case], *words: str) -> dict[Case, str]:
    """What the script's ``answer`` says of each case; AssertionError if a case ended it."""
    command = [sys.executable, script, *words]
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # as pytest has set them
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, check=False, env=paths)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    found = {(kind, name): code for kind, name, code in results}
    assert list(found) == list(cases), f"not the one after {list(found)[-1:]}: {done.stderr[-500:]}"
    return found


def answer(read: Callable[[str, str], str], memory: int = MEMORY) -> None:
    """In the process: read what standard input lists under the limits of the system; a line each on standard output.

    ``read(kind, name)``: the code of the error that refuses an input, or "".
    """
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    for kind, name in json.load(sys.stdin):
        spent = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        limit = int(spent) + SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        print(json.dumps([kind, name, read(kind, name)]), flush=True)
