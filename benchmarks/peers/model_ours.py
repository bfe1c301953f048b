"""Worker: decode and prefill speed of bundles of this compiler, one iteration of looped layers.

    usage: PYTHONPATH=src python model_ours.py NAME=BUNDLE…    (see worker.py)

The case ``read`` reads memory. The environment variable ``CHIMERA_CPU`` chooses the kernel set.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from read_speed import reader
from worker import seconds_per_token, serve

from chimerac.runtime import load
from chimerac.runtime.bundle_format import read_manifest
from chimerac.runtime.sessions.interface import Session


class Model:
    """A bundle, with a session per number of threads; the sessions share the mapped weights."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)
        self._sessions: dict[int, Session] = {}

    def session(self, threads: int) -> Session:
        if threads not in self._sessions:
            session = load(self.folder, verify=False, threads=threads)
            list(session.generate([1], max_tokens=1, loops=1))  # sets the iterations of calls that follow
            self._sessions[threads] = session
        return self._sessions[threads]

    @property
    def bytes(self) -> int:
        weights = self.manifest.file("weights")
        assert weights is not None
        return (Path(self.folder) / weights.name).stat().st_size

    def measure(self, what: str, threads: int, tokens: int) -> float:
        """Seconds per token, from an empty state."""
        session = self.session(threads)
        return seconds_per_token(session.prefill, session.reset, what, tokens)


def main(*bundles: str) -> None:
    models = {name: Model(folder) for name, _, folder in (item.partition("=") for item in bundles)}

    read = reader()

    def run(request: dict[str, Any]) -> float:
        if request["case"] == "read":
            return read(request["threads"], request["streams"])
        return models[request["case"]].measure(request["what"], request["threads"], request["tokens"])

    cases = {name: {"bytes": one.bytes, "kernels": one.session(1).kernels} for name, one in models.items()}
    serve({"versions": {"chimerac": next(iter(models.values())).manifest.chimerac}, "cases": cases}, run)


if __name__ == "__main__":
    main(*sys.argv[1:])
