"""Compiles the kernels of a build in worker processes: one queue for all its targets, so that no core waits.

Workers are started for as many kernels as pay for loading TVM, and not at all where everything comes from the cache.
Every kernel is compiled from the same inputs to a file of its own, so nothing depends on the order. A kernel that a
worker cannot compile is compiled again in the calling process, which raises the error.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from chimerac.compiler.errors import InternalError, UserError
from chimerac.targets.code.children import Children
from chimerac.targets.code.codegen import (
    UNFINISHED,
    KernelObject,
    cache_directory,
    cached_object,
    compile_object,
    instruction_set_of,
)
from chimerac.targets.code.kernel_worker import Answer, Request, named_isa
from chimerac.targets.code.own_kernels import is_own
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels import require_kernel

#: Kernels for which a worker is started: it loads TVM in the time that it compiles ten.
KERNELS_PER_WORKER = 10
#: What a worker runs.
WORKER = "from chimerac.targets.code.kernel_worker import main; main()"
#: How long a file is left alone that looks like one of a process that was killed.
ABANDONED_SECONDS = 3600.0

Progress = Callable[[KernelObject, int, int], None]


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, eq=False)
class _Task:
    """A kernel that is not in the cache; ``seconds`` is None where the calling process has to compile it."""

    spec: KernelSpec
    isa: Isa
    place: Path
    seconds: Future[float | None] = field(default_factory=Future)


@dataclass(frozen=True)
class _Entry:
    """A kernel of a batch. ``task`` compiles it; ``first`` if for this entry, else for one before."""

    spec: KernelSpec
    isa: Isa
    place: Path
    task: _Task | None
    first: bool


class KernelBatch:
    """Kernels that were handed to a queue together."""

    def __init__(self, entries: Sequence[_Entry]) -> None:
        self._entries = entries

    def finish(self, directory: Path, progress: Progress | None = None) -> list[KernelObject]:
        """Wait until all are compiled, and copy them into a folder.

        Args:
            directory: gets ``<symbol>.o`` files; created if missing.
            progress: called with each kernel, how many are done, and of how many.

        Raises:
            InternalError: a compiler process crashed twice at the same kernel.
        """
        directory.mkdir(parents=True, exist_ok=True)
        done: list[KernelObject] = []
        for entry in self._entries:
            seconds = _result(entry.task) if entry.task else 0.0
            symbol = entry.spec.symbol + entry.isa.symbol_suffix
            path = directory / f"{symbol}.o"
            path.write_bytes(entry.place.read_bytes())
            done.append(KernelObject(entry.spec, symbol, path, seconds if entry.first else 0.0, entry.isa.name))
            if progress is not None:
                progress(done[-1], len(done), len(self._entries))
        return done


class KernelQueue:
    """Compiles batches of kernels; a context manager, at whose end no worker is left.

    Args:
        jobs: kernels that are compiled at a time; None takes one per usable core. With 1 there are no workers, and
            kernels are compiled when their batch is finished.
    """

    def __init__(self, jobs: int | None = None) -> None:
        self.jobs = usable_cores() if jobs is None else jobs
        self._tasks: dict[Path, _Task] = {}
        self._waiting: SimpleQueue[_Task | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._workers: Children[_Worker] = Children()

    def __enter__(self) -> KernelQueue:
        return self

    def __exit__(self, *error: object) -> None:
        self._workers.end()
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def submit(self, work: Iterable[tuple[Iterable[KernelSpec], Isa]]) -> KernelBatch:
        """Begin to compile each distinct spec for its instruction set.

        Raises:
            UserError: CHM301, an op without a kernel.
        """
        wanted = [(spec, isa) for specs, isa in work for spec in dict.fromkeys(specs)]
        for spec, _ in wanted:
            require_kernel(spec.op)  # complain before compiling anything
        entries = [self._entry(spec, isa) for spec, isa in wanted]
        new = [entry.task for entry in entries if entry.task and entry.first]
        self._start_workers(len(new))
        for task in new:
            if self._threads and _is_named(task.isa) and not is_own(task.spec):
                self._waiting.put(task)
            else:
                task.seconds.set_result(None)
        return KernelBatch(entries)

    def _entry(self, spec: KernelSpec, isa: Isa) -> _Entry:
        used = instruction_set_of(spec, isa)
        place = cached_object(spec, used)
        if (task := self._tasks.get(place)) is not None:
            return _Entry(spec, isa, place, task, first=False)
        if place.exists():
            return _Entry(spec, isa, place, None, first=False)
        task = self._tasks[place] = _Task(spec, used, place)
        return _Entry(spec, isa, place, task, first=True)

    def _start_workers(self, tasks: int) -> None:
        """Start workers that are worth it for so many more tasks."""
        if self.jobs < 2 or tasks < 2 * KERNELS_PER_WORKER or not sys.executable:
            return
        if not self._threads:
            _remove_abandoned(cache_directory() / "kernels")
        for _ in range(min(self.jobs - len(self._threads), tasks // KERNELS_PER_WORKER)):
            self._threads.append(threading.Thread(target=self._serve, name="kernels", daemon=True))
            self._threads[-1].start()

    def _serve(self) -> None:
        """Have tasks compiled by a worker process, and by another one if it dies."""
        worker: _Worker | None = None
        while (task := self._waiting.get()) is not None:
            for attempt in range(2):
                worker = worker or self._worker()
                if worker is None:
                    task.seconds.set_result(None)
                    break
                answer = worker.compile(task)
                if answer is not None:
                    task.seconds.set_result(None if answer.failed else answer.seconds)
                    break
                status = self._bury(worker)
                worker = None
                if attempt or self._workers.ended:
                    message = f"the process that compiled {task.spec.symbol} for {task.isa.name} {status}"
                    task.seconds.set_exception(InternalError(message, stage="kernels"))
                    break
        if worker is not None:
            self._bury(worker)

    def _worker(self) -> _Worker | None:
        """A worker that is ready, None if it dies while it starts or cannot, or the queue is closed."""
        try:
            worker = self._workers.start(_Worker)
        except OSError:
            return None
        if worker is None or worker.answer() is not None:
            return worker
        self._bury(worker)
        return None

    def _bury(self, worker: _Worker) -> str:
        self._workers.forget(worker)
        return worker.end()


def compile_kernels(
    specs: Iterable[KernelSpec],
    isa: Isa,
    directory: Path,
    progress: Progress | None = None,
) -> list[KernelObject]:
    """One object file per distinct spec, in order of first appearance; the same bytes for the same inputs.

    They are compiled one after the other, in this process; ``KernelQueue`` compiles several at a time.

    Args:
        directory: gets ``<symbol>.o`` files; created if missing.
        progress: called with each finished kernel, how many are done, and of how many.

    Raises:
        UserError: CHM301, an op without a kernel.
    """
    with KernelQueue(1) as queue:
        return queue.submit([(specs, isa)]).finish(directory, progress)


class _Worker:
    """A running ``kernel_worker``."""

    def __init__(self) -> None:
        # the same modules as here, and none from the current folder
        code = f"import sys; sys.path[:] = {sys.path!r}; {WORKER}"
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in a terminal is for the build, which ends its workers
        )

    def compile(self, task: _Task) -> Answer | None:
        """The answer of the worker, None if it died."""
        assert self._process.stdin is not None
        try:
            pickle.dump(Request(task.spec, task.isa.name, task.isa.symbol_suffix, task.place), self._process.stdin)
            self._process.stdin.flush()
        except OSError:
            return None
        return self.answer()

    def answer(self) -> Answer | None:
        """The next answer, None if the worker died."""
        assert self._process.stdout is not None
        try:
            answer: Answer = pickle.load(self._process.stdout)
        except (EOFError, pickle.UnpicklingError, OSError):
            return None
        return answer

    def kill(self) -> None:
        """End it now; whoever waits for its answer gets none."""
        self._process.kill()

    def end(self) -> str:
        """Wait for its end, remove what it did not finish, and say how it ended."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()
        status = self._process.wait()
        for path in (cache_directory() / "kernels").glob(f"*.{self._process.pid}{UNFINISHED}"):
            path.unlink(missing_ok=True)
        return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def _result(task: _Task) -> float:
    """Seconds that a task took, compiled here if no worker did."""
    seconds = task.seconds.result()
    if seconds is None:
        return 0.0 if task.place.exists() else compile_object(task.spec, task.isa, task.place)
    return seconds


def _is_named(isa: Isa) -> bool:
    """Whether a worker finds an instruction set by its name."""
    try:
        return named_isa(isa.name, isa.symbol_suffix) == isa
    except UserError:
        return False


def _remove_abandoned(store: Path) -> None:
    """Clear away files of processes that were killed while they wrote."""
    for path in store.glob(f"*{UNFINISHED}"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                path.unlink()
