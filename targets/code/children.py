"""Processes that several threads start, of which none is left when the whole ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Child(Protocol):
    """A running process."""

    def kill(self) -> None:
        """End it now; whoever waits for it is told."""


ChildT = TypeVar("ChildT", bound=Child)


class Children(Generic[ChildT]):
    """The processes that run now; once they are ended, no new one starts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[ChildT] = set()
        self.ended = False

    def start(self, make: Callable[[], ChildT]) -> ChildT | None:
        """A new one, None once all are ended."""
        with self._lock:
            if self.ended:
                return None
            child = make()
            self._running.add(child)
            return child

    def forget(self, child: ChildT) -> None:
        """One that whoever started it waits for."""
        with self._lock:
            self._running.discard(child)

    def end(self) -> None:
        """Kill all."""
        with self._lock:
            self.ended = True
            for child in self._running:
                child.kill()
