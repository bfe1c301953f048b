"""Sections of a file made ahead of their turn, by a thread per core, with a limit on what waits in memory."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from numpy.typing import NDArray

from chimerac.runtime.bundle_format import Section
from chimerac.targets.code.kernel_queue import usable_cores

#: Bytes of sections that may be finished or in work before their turn.
MOST_WAITING = 256 << 20

Arrays = list[NDArray[Any]]


@contextlib.contextmanager
def made_ahead(sections: Sequence[Section]) -> Iterator[list[Section]]:
    """The same sections, to be read once each and in order; threads compute those whose data is a function.

    Numpy lets threads run side by side in its loops. What they compute does not depend on them. Sections that come
    from one computation wait for each other, so there are twice as many threads as cores.
    """
    with ThreadPoolExecutor(2 * usable_cores(), thread_name_prefix="section") as pool:
        line = _Line(pool, [s for s in sections if callable(s.data)])
        try:
            yield [replace(s, data=partial(line.take, s.name)) if callable(s.data) else s for s in sections]
        finally:
            pool.shutdown(cancel_futures=True)


class _Line:
    """Sections in the order they are asked for; the first ones are in work."""

    def __init__(self, pool: ThreadPoolExecutor, sections: Sequence[Section]) -> None:
        self.pool, self.waiting = pool, 0
        self.later = deque(sections)
        self.begun: deque[tuple[Section, Future[Arrays]]] = deque()

    def take(self, name: str) -> Arrays:
        """The pieces of the next section, whose name is this."""
        self._begin()
        section, future = self.begun.popleft()
        assert section.name == name, f"{name} is asked for when it is the turn of {section.name}"
        pieces = future.result()
        self.waiting -= section.size
        self._begin()
        return pieces

    def _begin(self) -> None:
        while self.later and (not self.begun or self.waiting + self.later[0].size <= MOST_WAITING):
            section = self.later.popleft()
            self.waiting += section.size
            self.begun.append((section, self.pool.submit(_pieces, section)))


def _pieces(section: Section) -> Arrays:
    assert callable(section.data)
    return list(section.data())
