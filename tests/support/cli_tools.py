"""What tests of the command line share: outcomes, and how every refusal looks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TARGETS = ("x86_64-avx2", "wasm")

#: What shows that an error got through as Python or JavaScript raised it.
NOISE = ("Traceback", 'File "', "Exception", "    at ")


@dataclass(frozen=True)
class Outcome:
    """What a command printed and its exit code."""

    code: int
    out: str
    err: str

    def refused(self, code: str, *parts: str) -> None:
        """One error of this code, on stderr alone, with these parts."""
        assert self.code == 1, (self.code, self.out, self.err)
        assert len(re.findall(rf"^(?:\S.*: )?error {code}: \S", self.err, re.MULTILINE)) == 1, self.err
        for part in parts:
            assert part in self.err
        assert "error" not in self.out
        assert not any(noise in self.err for noise in NOISE), self.err

    def misused(self, *parts: str) -> None:
        """A usage error as click words it."""
        assert self.code == 2, (self.code, self.out, self.err)
        assert "Error: " in self.err
        for part in parts:
            assert part in self.err


Command = Callable[..., Outcome]

COMMAND_LINE = (sys.executable, "-m", "chimerac")


def environment(**changes: str) -> dict[str, str]:
    """This process' environment for a child that should use one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **changes}


def start(*arguments: str | Path, stdin: int | None = None) -> subprocess.Popen[str]:
    """The command line as a process of its own, output piped."""
    return subprocess.Popen(
        [*COMMAND_LINE, *map(str, arguments)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def run_script(script: str, *arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A Python script as a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment(),
    )
