"""A process of its own that opens a bundle and generates one token: how long that takes and how much memory.

``python -m chimerac.compiler.bench.start BUNDLE THREADS TOKEN …`` prints one JSON object.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from chimerac.runtime.errors import BundleError
from chimerac.runtime.options import NO_GRAMMAR, PLAIN
from chimerac.runtime.sessions.loading import load


@dataclass(frozen=True)
class Start:
    """Seconds and bytes of a start; what the system does not tell is None.

    Attributes:
        open_seconds: for ``load(bundle, verify=False)``.
        prompt_seconds: for the prompt and the first token after it.
        peak_bytes: most memory that the process that computes had resident, mapped files among it.
        before_bytes: resident before the bundle was opened; None if another process computes.
        private_bytes: resident at the end without mapped files.
    """

    open_seconds: float
    prompt_seconds: float
    peak_bytes: int | None = None
    before_bytes: int | None = None
    private_bytes: int | None = None

    @property
    def seconds(self) -> float:
        """To the first token."""
        return self.open_seconds + self.prompt_seconds


def start_fresh(bundle: Path, threads: int, prompt: Sequence[int]) -> Start:
    """Start a process that measures; raises BundleError CHM421 if it fails."""
    command = [sys.executable, "-m", __name__, str(bundle), str(threads), *map(str, prompt)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise BundleError(
            "CHM421", f"a fresh process cannot open the bundle: {lines[-1] if lines else done.returncode}"
        )
    return Start(**json.loads(done.stdout))


def measure(bundle: str, threads: int, prompt: Sequence[int]) -> Start:
    """The same in this process."""
    before = resident("self", "VmRSS")
    begun = time.perf_counter()
    with load(bundle, verify=False, threads=threads) as session:
        opened = time.perf_counter()
        next(session.generate(prompt, max_tokens=1, grammar=NO_GRAMMAR, **PLAIN))
        done = time.perf_counter()
        process = session.process_id
        other = process is not None
        return Start(
            opened - begun,
            done - opened,
            resident(process or "self", "VmHWM"),
            None if other else before,
            resident(process or "self", "RssAnon"),
        )


def resident(process: int | str, what: str) -> int | None:
    """A line of Linux' account of a process' memory in bytes."""
    try:
        text = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(rf"^{what}:\s*(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


if __name__ == "__main__":
    try:
        print(json.dumps(asdict(measure(sys.argv[1], int(sys.argv[2]), [int(token) for token in sys.argv[3:]]))))
    except BundleError as error:
        sys.exit(error.message)
