"""File operations that fail, or that a process does not outlive."""

from __future__ import annotations

import builtins
import io
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest


class Faults:
    """Makes the k-th creation, opening or renaming of something in a folder fail, or the process end there.

    Attributes:
        number: of the error; None for SIGKILL.
        count: operations so far.
        at: k; 0 for none.
    """

    def __init__(
        self,
        folder: Path,
        number: int | None,
        monkeypatch: pytest.MonkeyPatch,
        others: Sequence[tuple[object, str]] = (),
    ) -> None:
        self.folder, self.number, self.count, self.at = f"{folder}{os.sep}", number, 0, 0
        self._os_open = os.open
        opening: tuple[Any, ...] = (builtins, io, os)
        for owner in opening:
            monkeypatch.setattr(owner, "open", self.wrap(owner.open))
        for place, name in ((os, "mkdir"), (os, "rename"), (os, "replace"), *others):
            monkeypatch.setattr(place, name, self.wrap(getattr(place, name)))

    def wrap(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            inside = isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.folder)
            if inside and (real is not self._os_open or arguments[0] & os.O_CREAT):  # cleaning up opens folders to read
                self.count += 1
                if self.count == self.at:
                    if self.number is None:
                        os.kill(os.getpid(), signal.SIGKILL)
                    assert self.number is not None
                    raise OSError(self.number, os.strerror(self.number), os.fspath(path))
            return real(path, *arguments, **options)

        return call
