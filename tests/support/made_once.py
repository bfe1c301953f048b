"""What a run of tests makes once for all of its worker processes: bundles and programs that take seconds."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

Once = Callable[[str, Callable[[Path], object]], Path]


def folder_of_run(factory: pytest.TempPathFactory) -> Path:
    """The temporary folder that the workers of this run have in common."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock of a killed process is free."""
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder ``name``, filled by ``make(folder)`` in the worker that asks first, while others that ask wait.

    Tests read what is in it and change nothing.
    """
    root = folder_of_run(factory) / "once"
    root.mkdir(exist_ok=True)
    key = f"{name.split()[0]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    folder = root / key
    with locked(root / f"{key}.lock"):
        done = root / f"{key}.done"
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder
