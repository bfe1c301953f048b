"""Where the time of a build goes: steps, passes, kernels and links, as JSON and as a table.

Bundles hold no times, because equal builds give equal bytes; these are kept beside them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from chimerac.compiler.errors import UserError
from chimerac.version import __version__

if TYPE_CHECKING:
    from chimerac.passes.base import PassRecord
    from chimerac.targets.code.codegen import KernelObject

#: Called with the name of a step, what it made, and its seconds.
Progress = Callable[[str, str, float], None]


def silent(step: str, what: str, seconds: float) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class StepTime:
    """A step of the build, by the clock: kernels are compiled while other steps run. ``target`` is "" before any."""

    target: str
    step: str
    what: str
    seconds: float


@dataclass(frozen=True)
class PassTime:
    """A pass, and the ops of all graphs after it."""

    target: str
    name: str
    ops: int
    seconds: float


@dataclass(frozen=True)
class KernelTime:
    """A kernel of a target's library or module; 0 seconds if it came from the cache."""

    target: str
    instruction_set: str
    symbol: str
    op: str
    operands: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class LinkTime:
    """A file of code that was compiled from C and linked."""

    target: str
    file: str
    seconds: float


@dataclass(frozen=True)
class Timings:
    """Times of a build, in seconds, in the order in which things were asked for.

    Attributes:
        jobs: processes that might run at a time.
        seconds: of the whole build.
    """

    jobs: int
    seconds: float
    steps: tuple[StepTime, ...]
    passes: tuple[PassTime, ...]
    kernels: tuple[KernelTime, ...]
    links: tuple[LinkTime, ...]

    def as_json(self) -> str:
        """The same as a JSON object, whose keys are those of the dataclasses, and the version of chimerac."""
        parts = asdict(self, dict_factory=lambda items: {k: round(v, 6) if k == "seconds" else v for k, v in items})
        return json.dumps({"chimerac": __version__, **parts}, indent=1, ensure_ascii=False) + "\n"

    def table(self, most: int = 8) -> str:
        """The slowest passes, kernels and links as text, ``most`` of each; nothing of what took no time."""
        fresh = [k for k in self.kernels if k.seconds > 0]
        parts = [
            ("pass", len(self.passes), [(p.seconds, p.name, p.target) for p in self.passes]),
            ("compiled kernel", len(fresh), [(k.seconds, k.symbol, k.instruction_set) for k in fresh]),
            ("link", len(self.links), [(x.seconds, x.file, x.target) for x in self.links]),
        ]
        return "\n".join(line for kind, count, rows in parts if rows for line in _section(kind, count, rows, most))


def write_timings(path: Path, timings: Timings) -> None:
    """Write the JSON.

    Raises:
        UserError: CHM321, the file cannot be written.
    """
    try:
        path.write_text(timings.as_json(), "utf-8")
    except OSError as error:
        raise UserError("CHM321", f"cannot write {path}: {error.strerror or error}") from None


def _section(kind: str, count: int, rows: Sequence[tuple[float, str, str]], most: int) -> Iterator[str]:
    plural = {"pass": "passes"}.get(kind, f"{kind}s")
    total = sum(seconds for seconds, *_ in rows)
    yield f"{f'{count} {kind if count == 1 else plural}':<60} {total:8.2f} s"
    slowest = sorted(rows, key=lambda row: -row[0])[:most]
    yield from (f"  {name:<38} {where:<19} {seconds:8.2f} s" for seconds, name, where in slowest)
    if len(rows) > most:
        rest = total - sum(seconds for seconds, *_ in slowest)
        yield f"  {f'{len(rows) - most} more':<58} {rest:8.2f} s"


@dataclass
class TimingLog:
    """Collects the times of a running build, and tells about its steps as they end."""

    progress: Progress | None
    jobs: int
    _started: float = field(default_factory=time.perf_counter)
    _steps: list[StepTime] = field(default_factory=list)
    _passes: list[PassTime] = field(default_factory=list)
    _kernels: list[KernelTime] = field(default_factory=list)
    _links: list[LinkTime] = field(default_factory=list)

    def tell(self, step: str, what: str, seconds: float) -> None:
        """A step before any target has ended."""
        self._step(StepTime("", step, what, seconds), step)

    def of_target(self, target: str, step: str, what: str, seconds: float) -> None:
        """A step of a target has ended."""
        self._step(StepTime(target, step, what, seconds), target)

    def _step(self, done: StepTime, shown: str) -> None:
        self._steps.append(done)
        if self.progress is not None:
            self.progress(shown, done.what, done.seconds)

    def passes(self, target: str, records: Iterable[PassRecord]) -> None:
        """Passes that ran for a target."""
        self._passes += (PassTime(target, r.name, r.ops, r.seconds) for r in records)

    def kernels(self, target: str, made: Iterable[KernelObject]) -> None:
        """Kernels of a target."""
        self._kernels += (
            KernelTime(target, k.isa, k.symbol, k.spec.op, tuple(map(str, k.spec.operands)), k.seconds) for k in made
        )

    def link(self, target: str, file: str, seconds: float) -> None:
        """A file was linked; may be called by several threads."""
        self._links.append(LinkTime(target, file, seconds))

    def timings(self) -> Timings:
        """All up to now."""
        seconds = time.perf_counter() - self._started
        made = tuple(self._steps), tuple(self._passes), tuple(self._kernels), tuple(self._links)
        return Timings(self.jobs, seconds, *made)
