"""``chimerac bench``: how fast a bundle is on this machine, what bounds it, and where its time and memory go."""

from __future__ import annotations

import contextlib
import datetime
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from chimerac.compiler.bench.figures import FirstToken, MemoryUse, Rate, ReadSpeed, Run, TokenTime, token_time
from chimerac.compiler.bench.machine import Machine, Memory, Others, this_machine
from chimerac.compiler.bench.report import BenchReport
from chimerac.compiler.bench.start import Start, start_fresh
from chimerac.compiler.bench.subject import PROMPT_TOKENS, Subject, prompt_tokens, subject_of
from chimerac.compiler.bench.times import check_seconds, check_threads, repeats, summarise, take_turns
from chimerac.compiler.errors import UserError, as_user_error
from chimerac.runtime.bundle_format import ACTIVE
from chimerac.runtime.errors import BundleError
from chimerac.runtime.sessions.interface import Session
from chimerac.runtime.sessions.loading import load
from chimerac.runtime.sessions.native import NativeSession
from chimerac.runtime.sessions.onnx import OnnxSession
from chimerac.runtime.sessions.runner import RunnerSession
from chimerac.runtime.sessions.wasm import WasmSession
from chimerac.version import __version__

Progress = Callable[[str], None]

MOST_PROMPT = 1 << 16
STREAMS = (1, 8)
_TURN = 0.1  #: seconds of decoding, and of each prompt, in a turn
_LEAST_TOKENS = 4
_OTHERS = 0.15  #: cores in use by other programs from which on they are mentioned


def bench(
    bundle: str | Path,
    *,
    threads: Sequence[int] = (),
    prompts: Sequence[int] = (16, 128),
    after: Sequence[int] = (),
    seconds: float = 8.0,
    progress: Progress | None = None,
) -> BenchReport:
    """Measure a bundle of a language model; ``bench_calls`` is for any other one.

    Args:
        bundle: folder.
        threads: numbers of threads, 0 for the default one; none: 1 and the default one.
        prompts: lengths of prompts in tokens.
        after: lengths of texts, in tokens, after which decode is measured, too: attention takes longer after long ones.
        seconds: for which decode, prompts and reading memory take turns; each is measured once at least. The rest
            (checksums, warming up, profiles, fresh processes) takes some seconds more.
        progress: is told what is being measured.

    Raises:
        UserError: CHM420, an argument out of range; CHM421 for a module that is no language model; CHM4xx, a bundle
            that does not open or fails.
    """
    check_threads(threads)
    check_seconds(seconds)
    _check_prompts((*prompts, *after))
    try:
        with contextlib.ExitStack() as stack:
            bench = _Bench(Path(bundle), prompts, after, seconds, progress or (lambda _: None))
            bench.open(threads, stack)
            return bench.measure(stack)
    except BundleError as error:
        raise as_user_error(error) from None


def _check_prompts(prompts: Sequence[int]) -> None:
    for count in prompts:
        if type(count) is not int or not 1 <= count <= MOST_PROMPT:
            raise UserError("CHM420", f"a prompt of {count!r} tokens; 1 to {MOST_PROMPT:,} are possible")


class _Times:
    """What is measured with one number of threads."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.decode: list[float] = []
        self.after: dict[int, list[float]] = {}
        self.prefill: dict[int, list[float]] = {}
        self.read: dict[int, list[float]] = {streams: [] for streams in STREAMS}
        self.starts: list[Start] = []
        self.time: TokenTime | None = None
        self.passes: list[float] = []


class _Bench:
    """One run of the benchmark."""

    def __init__(
        self, bundle: Path, prompts: Sequence[int], after: Sequence[int], seconds: float, progress: Progress
    ) -> None:
        self._bundle, self._prompts, self._seconds = bundle, tuple(dict.fromkeys(prompts)), seconds
        self._after = tuple(dict.fromkeys(after))
        self._progress = progress
        self._notes: list[str] = []
        self._times: dict[int, _Times] = {}
        self._machine = this_machine()

    def open(self, threads: Sequence[int], stack: contextlib.ExitStack) -> None:
        """Compare the files with the manifest once, and open a session for each number of threads."""
        self._progress("comparing checksums")
        first = load(self._bundle, threads=0)
        first.need_tokens()
        if active := first.manifest.provenance.get(ACTIVE):
            self._notes.append(f"{ACTIVE}: {active}; bytes of weights are those of all neurons")
        default = first.threads
        self._prompts = tuple(self._fitting(self._prompts, first.context))
        self._after = tuple(self._fitting(self._after, first.context - _LEAST_TOKENS - 1))
        first.close()
        asked = [count or default for count in threads] or [1, default]
        for count in dict.fromkeys(asked):
            session = stack.enter_context(load(self._bundle, verify=False, threads=count))
            if session.threads != count:
                self._notes.append(f"{count} threads were asked for, this bundle uses {session.threads} here")
            self._times.setdefault(session.threads, _Times(subject_of(session)))

    def _fitting(self, lengths: Sequence[int], most: int) -> Iterator[int]:
        for length in lengths:
            if length <= most:
                yield length
            else:
                self._notes.append(f"a text of {length} tokens does not fit the context: left out")

    @property
    def _session(self) -> Session:
        return next(iter(self._times.values())).subject.session

    def measure(self, stack: contextlib.ExitStack) -> BenchReport:
        """Everything, in turns."""
        session, library = self._session, None
        if isinstance(session, NativeSession) and session.measures:
            library = session.library
        self._progress("warming up")
        tasks = list(self._running())
        if library is not None:
            memory = Memory(library, self._machine)
            stack.callback(memory.close)
            tasks += self._reading(memory)
        self._progress("decoding, prompts and reading memory take turns")
        others = Others()
        rounds = take_turns(tasks, self._seconds)
        other_cores = others.cores() if session.process_id is None else None
        self._progress("where the time goes")
        self._profile()
        self._progress("fresh processes")
        self._start()
        self._note_limits(library is not None, other_cores)
        return BenchReport(
            bundle=str(self._bundle),
            name=session.manifest.name,
            target=session.manifest.target,
            kernels=session.variant if isinstance(session, WasmSession) else session.kernels,
            made_by=session.manifest.chimerac,
            chimerac=__version__,
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            emulated=isinstance(session, RunnerSession),
            machine=self._machine,
            decode_bytes=session.manifest.memory.decode_bytes,
            rounds=rounds,
            other_cores=other_cores,
            runs=[self._run(count, times) for count, times in self._times.items()],
            memory=self._memory(),
            notes=self._notes,
        )

    def _running(self) -> Iterator[Callable[[], None]]:
        """Tasks that decode, and that run prompts: equal things with all numbers of threads one after the other."""
        native = isinstance(self._session, NativeSession)
        least, most, turn = (_LEAST_TOKENS, 256, _TURN) if native else (2 * _LEAST_TOKENS, 64, 3 * _TURN)
        prompts: dict[tuple[int, int], float] = {}
        for count, times in self._times.items():
            found = times.subject.decode(least)
            if found:
                yield _decoding(times, max(least, repeats(turn, min(found), most)))
            shortest = min(self._prompts, default=1)
            times.subject.prefill(shortest)
            for length in self._prompts:
                expected = times.subject.prefill(shortest) * length / shortest
                if expected > self._seconds:
                    threads = f"{count} thread{'s' * (count != 1)}"
                    self._notes.append(
                        f"a prompt of {length} tokens would take {expected:.0f} s with {threads}: left out"
                    )
                else:
                    prompts[length, count] = expected
        for length in self._after:
            for times in self._times.values():
                yield _decoding_after(times, length, least)
        for length in self._prompts:
            for count, times in self._times.items():
                if (length, count) in prompts:
                    yield _prompting(times, length, repeats(_TURN / 2, prompts[length, count], 8))

    def _reading(self, memory: Memory) -> Iterator[Callable[[], None]]:
        for streams in STREAMS:
            for count, times in self._times.items():
                yield _reading(times, memory, count, streams)

    def _profile(self) -> None:
        for times in self._times.values():
            times.passes = times.subject.passes()
            if times.decode:
                count = max(_LEAST_TOKENS, repeats(4 * _TURN, statistics.median(times.decode), 2048))
                profiled = times.subject.profile(count)
                times.time = None if profiled is None else token_time(profiled)

    def _start(self) -> None:
        prompt = prompt_tokens(self._session, PROMPT_TOKENS)
        tasks = [_starting(times, self._bundle, count, prompt) for count, times in self._times.items()]
        take_turns(tasks, self._seconds / 4, most=5)

    def _run(self, threads: int, times: _Times) -> Run:
        decode = _rate(1, times.decode) if times.decode else None
        prefill = [_rate(length, found) for length, found in times.prefill.items()]
        read = None
        if times.read[STREAMS[0]]:
            read = ReadSpeed(*(statistics.median(times.read[streams]) for streams in STREAMS))
        size = self._session.manifest.memory.decode_bytes
        streamed = size / decode.seconds if decode and size else None
        after = [_rate(length, found, after=True) for length, found in times.after.items() if found]
        first = _first_token(times.starts)
        return Run(threads, decode, prefill, first, streamed, read, times.time, after, times.passes)

    def _memory(self) -> MemoryUse:
        session = self._session
        planned = session.manifest.memory
        opened = session.library.get("chm_session_bytes") if isinstance(session, NativeSession) else None
        start = self._times[min(self._times)].starts[0]
        return MemoryUse(
            planned.weights_bytes,
            planned.state_bytes,
            planned.arena_bytes,
            opened,
            start.peak_bytes,
            start.before_bytes,
            start.private_bytes,
        )

    def _note_limits(self, measures: bool, other_cores: float | None) -> None:
        self._notes += list(_limits(self._session, self._machine, measures, other_cores or 0.0))
        self._notes += list(_more_than_cores(max(self._times), self._machine.cores))
        if not all(times.decode for times in self._times.values()):
            self._notes.append("the model ends every text at once, so that decoding could not be measured")


def _decoding(times: _Times, count: int) -> Callable[[], None]:
    return lambda: times.decode.extend(times.subject.decode(count))


def _decoding_after(times: _Times, length: int, count: int) -> Callable[[], None]:
    found = times.after.setdefault(length, [])
    return lambda: found.extend(times.subject.decode(count, length))


def _prompting(times: _Times, length: int, count: int) -> Callable[[], None]:
    found = times.prefill.setdefault(length, [])
    return lambda: found.extend(times.subject.prefill(length) for _ in range(count))


def _reading(times: _Times, memory: Memory, threads: int, streams: int) -> Callable[[], None]:
    return lambda: times.read[streams].append(memory.read(threads, streams))


def _starting(times: _Times, bundle: Path, threads: int, prompt: Sequence[int]) -> Callable[[], None]:
    return lambda: times.starts.append(start_fresh(bundle, threads, prompt))


def _rate(tokens: int, times: Sequence[float], *, after: bool = False) -> Rate:
    """Times of runs of so many tokens, or of one after so many, as tokens per second; none is under a nanosecond."""
    found = summarise([max(1e-9, seconds) for seconds in times])
    count = 1 if after else tokens
    return Rate(tokens, count / found.median, count / found.best, found.median, found.p90, found.count)


def _first_token(starts: Sequence[Start]) -> FirstToken:
    middle = sorted(starts, key=lambda start: start.seconds)[(len(starts) - 1) // 2]
    return FirstToken(PROMPT_TOKENS, middle.seconds, middle.open_seconds, middle.prompt_seconds, len(starts))


def _more_than_cores(threads: int, cores: int) -> Iterator[str]:
    if threads > cores:
        held = "one core" if cores == 1 else f"{cores} cores"
        yield f"{threads} threads had {held} to run on: more threads than cores wait for one another"


def _limits(session: Session, machine: Machine, measures: bool, other_cores: float) -> Iterator[str]:
    """What a reader has to know about the numbers."""
    if other_cores > _OTHERS:
        yield f"other programs used {other_cores:.1f} of {machine.cores} cores meanwhile: measure again when they don't"
    if isinstance(session, RunnerSession):
        yield "an emulator runs this bundle: speeds and memory are the emulator's, not a processor's"
    if isinstance(session, WasmSession):
        yield "Node.js runs this bundle, and pieces come from it over a pipe; read speed and shares are not measured"
    if isinstance(session, OnnxSession):
        yield "ONNX Runtime computes, from its own copy of the weights: bytes, read speed and shares are not measured"
    if isinstance(session, NativeSession) and not measures:
        yield "the bundle is of an older chimerac; build it again to see read speed and shares"
    size = session.manifest.memory.decode_bytes
    if measures and 0 < size < machine.cached_bytes:
        cached = math.floor(machine.cached_bytes / 1e6)
        yield f"the weights of a token fit the caches (up to {cached:,} MB): memory need not bound the speed"
