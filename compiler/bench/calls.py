"""``chimerac bench`` of a module that is no language model: how long a call takes, and where its time goes."""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chimerac.compiler.bench.figures import MemoryUse, TokenTime, token_time
from chimerac.compiler.bench.machine import Machine, this_machine
from chimerac.compiler.bench.subject import Profiled
from chimerac.compiler.bench.text import head_lines, row, speed_row, time_lines
from chimerac.compiler.bench.times import check_seconds, check_threads, repeats, summarise, take_turns
from chimerac.compiler.errors import as_user_error
from chimerac.compiler.units import decimal_size
from chimerac.runtime.bundle_format import Entry
from chimerac.runtime.bundle_format.entries import drawn
from chimerac.runtime.errors import BundleError
from chimerac.runtime.sessions.interface import Session
from chimerac.runtime.sessions.loading import load
from chimerac.runtime.sessions.native import NativeSession
from chimerac.runtime.sessions.runner import RunnerSession
from chimerac.runtime.sessions.tensors import entry_of
from chimerac.runtime.sessions.wasm import WasmSession
from chimerac.version import __version__

#: Version of the JSON; keys are added, not changed, within one version.
SCHEMA = 1
_TURN = 0.1  #: seconds of a turn


@dataclass(frozen=True)
class CallTime:
    """Calls with one number of threads.

    Attributes:
        n: extent of the axis that varies; 1 where none does.
        seconds: of a call, in the median.
        p90_seconds: what nine of ten calls do not exceed.
        time: where it goes, measured with the greatest extent; None where that cannot be told.
    """

    threads: int
    n: int
    seconds: float
    best_seconds: float
    p90_seconds: float
    calls: int
    time: TokenTime | None = None


@dataclass(frozen=True)
class CallReport:
    """The result of ``bench``; ``str`` of it is a table, ``json`` the same for programs."""

    bundle: str
    name: str
    target: str
    kernels: str
    made_by: str
    chimerac: str
    date: str
    emulated: bool
    machine: Machine
    runs: Sequence[CallTime]
    memory: MemoryUse
    notes: Sequence[str] = field(default_factory=tuple)

    def json(self) -> str:
        """An object with the fields of this class and those in it; docs/bench.md explains the keys."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2, ensure_ascii=False)

    def __str__(self) -> str:
        head = head_lines(
            self.name, self.target, self.kernels, self.emulated, self.machine, self.date, self.chimerac, self.made_by
        )
        threads = list(dict.fromkeys(run.threads for run in self.runs))
        lines = [row("A call", [f"{count} thread{'s' * (count != 1)}" for count in threads])]
        for n in dict.fromkeys(run.n for run in self.runs):
            runs = [run for run in self.runs if run.n == n]
            lines += [
                speed_row(f"  T = {n}: ms", [run.seconds for run in runs]),
                speed_row("    best", [run.best_seconds for run in runs]),
                speed_row("    90 % of calls within ms", [run.p90_seconds for run in runs]),
            ]
        memory = [
            "Memory",
            row("  weights file, mapped and shared", [decimal_size(self.memory.weights_bytes)]),
            row("  recurrent state of a session", [decimal_size(self.memory.state_bytes)]),
            row("  scratch (arena)", [decimal_size(self.memory.arena_bytes)]),
        ]
        measured = [(run.threads, run.time) for run in self.runs if run.time is not None]
        blocks = [head, lines, *time_lines(measured, "Where a call's time goes", "outside of the kernels"), memory]
        blocks.append([f"* {note}" for note in self.notes])
        return "\n\n".join("\n".join(line.rstrip() for line in block) for block in blocks if block)


def bench_calls(
    bundle: str | Path,
    *,
    threads: Sequence[int] = (),
    seconds: float = 8.0,
    progress: Callable[[str], None] | None = None,
) -> CallReport:
    """Measure calls of a bundle that holds no language model.

    Args:
        bundle: folder.
        threads, progress: as of ``bench``.
        seconds: for which calls take turns; each is measured once at least.

    Raises:
        UserError: CHM420, an argument out of range; CHM421 for a language model; CHM4xx, a bundle that does not open or
            fails.
    """
    check_threads(threads)
    check_seconds(seconds)
    try:
        with contextlib.ExitStack() as stack:
            return _measured(Path(bundle), threads, seconds, progress or (lambda _: None), stack)
    except BundleError as error:
        raise as_user_error(error) from None


def _measured(
    bundle: Path, threads: Sequence[int], seconds: float, progress: Callable[[str], None], stack: contextlib.ExitStack
) -> CallReport:
    progress("comparing checksums")
    first = load(bundle, threads=0)
    default = first.threads
    first.close()
    sessions: dict[int, Session] = {}
    for count in dict.fromkeys([count or default for count in threads] or [1, default]):
        session = stack.enter_context(load(bundle, verify=False, threads=count))
        sessions.setdefault(session.threads, session)
    session = next(iter(sessions.values()))
    entry = entry_of(session.manifest.entries, None)
    progress("calls take turns")
    times: dict[tuple[int, int], list[float]] = {}
    tasks = []
    for n in dict.fromkeys((1, entry.most)):
        inputs = _inputs(entry, n)
        for count, one in sessions.items():
            found = times.setdefault((count, n), [])
            warm = max(_call(one, inputs), 1e-9)
            tasks.append(functools.partial(_calls, one, inputs, repeats(_TURN, warm, 256), found))
    take_turns(tasks, seconds)
    progress("where the time goes")
    profiles = {count: _profiled(one, entry) for count, one in sessions.items()}
    planned = session.manifest.memory
    return CallReport(
        bundle=str(bundle),
        name=session.manifest.name,
        target=session.manifest.target,
        kernels=session.variant if isinstance(session, WasmSession) else session.kernels,
        made_by=session.manifest.chimerac,
        chimerac=__version__,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        emulated=isinstance(session, RunnerSession),
        machine=this_machine(),
        runs=[
            _summary(count, n, found, profiles[count] if n == entry.most else None)
            for (count, n), found in times.items()
        ],
        memory=MemoryUse(planned.weights_bytes, planned.state_bytes, planned.arena_bytes, None, None, None, None),
        notes=tuple(_notes(session)),
    )


def _inputs(entry: Entry, n: int) -> Mapping[str, Any]:
    """Those of the self-test, as callers give them."""
    return {
        port.name: array if port.is_float else array.astype(port.dtype)
        for port, array in zip(entry.inputs, drawn(entry, 0, n), strict=True)
    }


def _call(session: Session, inputs: Mapping[str, Any]) -> float:
    begun = time.perf_counter()
    session.call(inputs)
    return time.perf_counter() - begun


def _calls(session: Session, inputs: Mapping[str, Any], count: int, found: list[float]) -> None:
    found.extend(_call(session, inputs) for _ in range(count))


def _summary(threads: int, n: int, times: Sequence[float], where: TokenTime | None) -> CallTime:
    found = summarise([max(1e-9, seconds) for seconds in times])
    return CallTime(threads, n, found.median, found.best, found.p90, found.count, where)


def _profiled(session: Session, entry: Entry) -> TokenTime | None:
    if not isinstance(session, NativeSession) or not session.measures:
        return None
    inputs = _inputs(entry, entry.most)
    count = repeats(4 * _TURN, statistics.median(_call(session, inputs) for _ in range(3)), 2048)
    with session.profile() as profile:
        seconds = sum(_call(session, inputs) for _ in range(count))
        return token_time(Profiled(profile.steps(), seconds, count))


def _notes(session: Session) -> Iterator[str]:
    """What a reader has to know about the numbers."""
    if isinstance(session, RunnerSession):
        yield "an emulator runs this bundle: speeds are the emulator's, and tensors go through a pipe"
    elif isinstance(session, WasmSession):
        yield "Node.js runs this bundle, and tensors go through a pipe"
    yield "a call is what Python waits for: the checks of the inputs are in it, and room for the results"
