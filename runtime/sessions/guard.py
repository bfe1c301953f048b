"""One call with a session at a time, and one generation: everybody else is refused, whatever thread they are in."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, Generic, TypeVar

from chimerac.runtime.errors import BundleError

T = TypeVar("T")
_WAIT = 0.001  #: seconds between two looks at whether a call has ended


class _Call:
    """A call that runs, or one that is about to be refused because another one does."""

    def __init__(self) -> None:
        self.thread, self.process = threading.get_ident(), os.getpid()


class _Part:
    """A part of a call, in a thread of its own. Who claims it first has it: the thread, or who finds it not begun."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work, self._claim, self._done = work, threading.Lock(), threading.Event()
        self._error: BaseException | None = None
        self.process = os.getpid()

    def begin(self) -> None:
        threading.Thread(target=self._run, name="chimerac session").start()

    def _run(self) -> None:
        if not self._claim.acquire(blocking=False):
            return
        try:
            self._work()
        except BaseException as error:
            self._error = error
        finally:
            self._done.set()

    def wait(self) -> None:
        """Wait, signals being looked at; raises what the part raised."""
        self._done.wait()
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Wait for the end of one that was left behind; one that was not begun never will be."""
        if not self._claim.acquire(blocking=False):
            self._done.wait()


class Guard:
    """Who may use a session. Nobody waits but who closes it, and for what was interrupted; who is interrupted leaves
    nothing taken.

    Whoever calls puts itself at the end of a list; if it is the first there, the call is its own until it takes itself
    out. Unlike a lock that is tried, this has no moment at which a signal could leave it taken by nobody.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._generation: object | None = None
        self._closing = self._closed = False
        self._part: _Part | None = None  #: that runs, or was left behind

    @contextlib.contextmanager
    def call(self, *, changes: bool = False) -> Iterator[None]:
        """Hold the session for a call; ``changes``: one that a generation would notice.

        Raises BundleError CHM421 while another call runs, or a generation that it would change, and once it is closed.
        """
        call = _Call()
        try:
            self._calls.append(call)
            if self._calls[0] is not call:
                hint = "open a session for each thread; those of one bundle share its memory"
                raise BundleError("CHM421", "the session is in another call", hint=hint)
            self.check()
            self._finish_part()
            if changes and self._generation is not None:
                raise BundleError("CHM421", "a generation is running; end it first")
            yield
        except BundleError:
            self.check()  # what it could not do any more because it is to be closed
            raise
        finally:
            if call in self._calls:
                self._calls.remove(call)

    def aside(self, work: Callable[[], None]) -> None:
        """Do a part of a call that takes long, so that a signal need not wait for its end: Python looks at signals in
        the main thread only, and not in the middle of a call of another language. Who is interrupted leaves the part
        behind; the next call waits for it.
        """
        if threading.current_thread() is not threading.main_thread():
            work()
            return
        self._part = part = _Part(work)
        part.begin()
        part.wait()
        self._part = None

    def _finish_part(self) -> None:
        part = self._part
        if part is None:
            return
        if part.process != os.getpid():
            raise BundleError("CHM421", "the session was in a call when the process was forked")
        part.finish()
        self._part = None

    def check(self) -> None:
        """Raise BundleError CHM421 if the session is closed, or is to be."""
        if self._closing:
            raise BundleError("CHM421", "the session is closed")

    @contextlib.contextmanager
    def step(self, generation: object) -> Iterator[None]:
        """Hold the session for a step of a generation, which has it from its first step until ``end``."""
        with self.call():
            if self._generation not in (None, generation):
                hint = "use up its iterator, or close() it"
                raise BundleError("CHM421", "another generation is running; end it first", hint=hint)
            self._generation = generation
            yield

    def end(self, generation: object) -> None:
        """The generation is over; others may begin."""
        if self._generation is generation:
            self._generation = None

    def close(self, hasten: Callable[[], None], release: Callable[[], None]) -> None:
        """Refuse calls from now on, end the one that runs in another thread (``hasten`` it), wait for that, release.

        Raises BundleError CHM421 if the call that runs is the one that led here, or was left behind by a fork.
        """
        if self._closed:
            return
        call = _Call()
        try:
            self._calls.append(call)
            first = self._calls[0]
            if first is not call and (first.thread, first.process) == (call.thread, call.process):
                raise BundleError("CHM421", "a call cannot close its own session; close it afterwards")
            if first.process != call.process:
                raise BundleError("CHM421", "the session was in a call when the process was forked")
            self._closing = True
            if first is not call:
                hasten()
            while self._calls[0] is not call:
                time.sleep(_WAIT)
            if not self._closed:
                self._finish_part()
                release()
            self._closed = True
        finally:
            if call in self._calls:
                self._calls.remove(call)


class Generation(Iterator[T], Generic[T]):
    """What comes out of a generation, step by step. It has the session from its first step until it ends, is closed,
    or nobody refers to it any more.
    """

    def __init__(self, guard: Guard, steps: Generator[T, None, None]) -> None:
        self._guard, self._steps, self._ended = guard, steps, False
        self._token = object()

    def __next__(self) -> T:
        """Raises BundleError CHM421 while another call or generation has the session, and what the step raises."""
        if self._ended:
            raise StopIteration
        begun = False
        try:
            with self._guard.step(self._token):
                begun = True
                for piece in self._steps:
                    return piece
                self._end()
        except BaseException:
            if begun:
                self._end()
            raise
        raise StopIteration

    def close(self) -> None:
        """End the generation here; the session keeps what was run. May be called again.

        Raises BundleError CHM421 while another thread is in a step of it.
        """
        try:
            self._end()
        except ValueError:  # of a generator that is running
            raise BundleError("CHM421", "the generation is in a step") from None

    def _end(self) -> None:
        self._steps.close()
        self._ended = True
        self._guard.end(self._token)

    def __enter__(self) -> Generation[T]:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(BundleError):
            self.close()
