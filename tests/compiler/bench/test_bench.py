"""The arithmetic of a benchmark, with a clock that only goes on when told to, and the look of its result."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from project import ROOT

from chimerac.compiler.bench import bench as benching
from chimerac.compiler.bench import machine as bench_machine
from chimerac.compiler.bench.bench import bench
from chimerac.compiler.bench.figures import FirstToken, MemoryUse, Rate, ReadSpeed, Run, token_time
from chimerac.compiler.bench.machine import Machine, this_machine
from chimerac.compiler.bench.report import BenchReport
from chimerac.compiler.bench.start import Start, start_fresh
from chimerac.compiler.bench.subject import PROMPT_TOKENS, Profiled, Subject, prompt_tokens, subject_of
from chimerac.compiler.bench.times import repeats, summarise, take_turns
from chimerac.compiler.errors import UserError
from chimerac.runtime import BundleError
from chimerac.runtime.bundle_format import FileEntry, Manifest, Memory
from chimerac.runtime.options import GenerateOptions
from chimerac.runtime.sessions.checks import Progress
from chimerac.runtime.sessions.interface import CheckedPrompt, Piece, Session
from chimerac.runtime.sessions.profile import Step

# ---- times ----


@pytest.mark.parametrize(
    ("times", "median", "best", "p90"),
    [
        ([3.0], 3, 3, 3),
        ([4.0, 1.0], 2.5, 1, 4),
        ([5.0, 1.0, 2.0], 2, 1, 5),
        ([float(i) for i in range(1, 11)], 5.5, 1, 9),
        ([float(i) for i in range(11, 0, -1)], 6, 1, 10),
    ],
)
def test_summaries(times: list[float], median: float, best: float, p90: float) -> None:
    found = summarise(times)
    assert (found.median, found.best, found.p90, found.count) == (median, best, p90, len(times))


class Clock:
    """Goes on by what ``wait`` is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def near(value: float) -> Any:
    """As a part of a tuple, which a type checker compares with one of numbers."""
    return pytest.approx(value)


def turns(costs: Sequence[float], seconds: float, most: int = 1000) -> tuple[list[int], int, float]:
    """The order of tasks that cost so much, the number of rounds and the time."""
    clock, order = Clock(), []

    def task(index: int) -> Any:
        def run() -> None:
            order.append(index)
            clock.wait(costs[index])

        return run

    rounds = take_turns([task(i) for i in range(len(costs))], seconds, most=most, clock=clock)
    return order, rounds, clock.now - 100


def test_tasks_take_turns_while_another_round_fits() -> None:
    assert turns([1, 2], 9.5) == ([0, 1] * 3, 3, 9)
    assert turns([1, 2], 9) == ([0, 1] * 3, 3, 9)
    assert turns([1, 2], 5.9) == ([0, 1], 1, 3)
    assert turns([4, 8], 1) == ([0, 1], 1, 12), "each is done once, whatever it takes"
    assert turns([0.001], 100, most=7) == ([0] * 7, 7, near(0.007))


@pytest.mark.parametrize(
    ("seconds", "one", "most", "times"), [(1, 0.3, 9, 3), (1, 0.01, 9, 9), (1, 5, 9, 1), (1, 0, 9, 9)]
)
def test_repeats(seconds: float, one: float, most: int, times: int) -> None:
    assert repeats(seconds, one, most) == times


# ---- a session that takes the time it is told to ----


class Timed(Session):
    """A prompt's token takes 10 ms, a generated one 30 ms, and generations have the lengths of ``lengths`` in turn."""

    vocab_size, max_loops, threads = 50, 1, 1

    def __init__(self, clock: Clock, lengths: Sequence[int], tokenizer: bool = True) -> None:
        self._clock, self._lengths, self.prompts = clock, list(lengths), []  # type: ignore[var-annotated]
        entry = FileEntry("t", "tokenizer", 1, "00" * 32)
        files = (entry,) if tokenizer else ()
        super().__init__(Manifest("m", "t-x", "", "", "0", files, Memory(1, 1, 1)))

    def _generate(
        self, prompt: CheckedPrompt, options: GenerateOptions, tell: Progress
    ) -> Generator[Piece, None, None]:
        assert options.temperature == 0
        assert options.grammar == "none"
        self.prompts.append(list(prompt))
        self._clock.wait(0.01 * len(prompt))
        for _ in range(min(options.max_tokens, self._lengths.pop(0))):
            self._clock.wait(0.03)
            yield Piece("x", 5)
        self._clock.wait(0.0)
        yield Piece("left", -1)

    def _encode(self, text: bytes, specials: bool, begins: bool) -> list[int]:
        return list(range(10, 30))

    def _prefill(self, tokens: NDArray[np.int32], tell: Progress) -> None:
        self._clock.wait(0.01 * len(tokens))

    def _reset(self) -> None:
        self._clock.wait(1)

    def _logits(self) -> NDArray[np.float32] | None:
        return None

    def _position(self) -> int:
        return 0

    def _state_hash(self) -> str:
        return ""

    def _logits_hash(self) -> str:
        return ""

    def _snapshot(self) -> bytes:
        return b""

    def _restore(self, snapshot: bytes) -> None:
        pass

    def _close(self) -> None:
        pass


@pytest.fixture
def bundle_session() -> Session:
    return Timed(Clock(), [])


def test_prompts_are_timed_without_the_reset() -> None:
    clock = Clock()
    subject = Subject(Timed(clock, []), clock)
    assert subject.prefill(16) == pytest.approx(0.16)
    assert subject.prefill(1) == pytest.approx(0.01)


def test_a_token_is_timed_without_the_prompt_and_the_first_token() -> None:
    clock = Clock()
    session = Timed(clock, [100])
    assert Subject(session, clock).decode(8) == pytest.approx([0.03])
    assert len(session.prompts[0]) == PROMPT_TOKENS


def test_texts_that_end_early_are_made_up_for_by_others() -> None:
    clock = Clock()
    session = Timed(clock, [4, 1, 2, 100])
    assert Subject(session, clock).decode(10) == pytest.approx([0.03, 0.03, 0.03])  # 3, 0, 1 and 6 tokens
    assert [len(prompt) for prompt in session.prompts] == [PROMPT_TOKENS] * 4
    assert len({tuple(prompt) for prompt in session.prompts}) == 4, "other texts, in case these always end early"


def test_a_model_that_ends_every_text_at_once_is_given_up() -> None:
    clock = Clock()
    session = Timed(clock, [1] * 100)
    assert Subject(session, clock).decode(10) == []
    assert 10 <= len(session.prompts) < 100


def test_subjects_of_other_sessions_have_no_profile() -> None:
    clock = Clock()
    subject = subject_of(Timed(clock, []))
    assert type(subject) is Subject
    assert subject.profile(5) is None


def test_prompts_have_their_length_with_and_without_a_tokenizer() -> None:
    clock = Clock()
    assert prompt_tokens(Timed(clock, []), 45) == [*range(10, 30), *range(10, 30), *range(10, 15)]
    without = prompt_tokens(Timed(clock, [], tokenizer=False), 60)
    assert len(without) == 60
    assert all(0 <= token < 50 for token in without)


# ---- shares ----

STEPS = [
    Step("embedding", "look_up", 0, 10),
    Step("layers.0.mixer", "ternary_matmul", 4000, 2000),
    Step("layers.0.mixer", "gated_delta", 0, 500),
    Step("layers.0.ffn", "ternary_matmul", 6000, 3000),
    Step("layers.1.mixer", "gated_delta", 0, 490),
    Step("layers.1.mixer", "titans_apply", 0, 10),
    Step("layers.1.ffn", "grouped_ternary_matmul", 1000, 400),
    Step("layers.2.mixer", "gated_delta", 0, 90),
    Step("layers.3.mixer", "add", 0, 200),
    Step("head", "int8_matmul", 8000, 2400),
]


def test_shares_of_a_token() -> None:
    time = token_time(Profiled(STEPS, seconds=20e-6, tokens=2))
    assert time.seconds == pytest.approx(10e-6)
    assert time.other_seconds == pytest.approx(10e-6 - 4.55e-6)
    parts = {share.name: (share.parts, share.seconds, share.share, share.weight_bytes) for share in time.parts}
    assert list(parts) == [
        "embedding", "Gated DeltaNet", "feed-forward", "Titans memory", "experts", "mixer", "head",
    ]  # fmt: skip
    assert parts["Gated DeltaNet"] == (2, near(1.295e-6), near(0.1295), 4000)
    assert parts["Titans memory"] == (1, near(0.25e-6), near(0.025), 0)
    ops = {share.name: share for share in time.ops}
    assert ops["ternary_matmul"].seconds == pytest.approx(2.5e-6)
    assert ops["ternary_matmul"].parts == 2
    assert ops["ternary_matmul"].bytes_per_second == pytest.approx(10000 / 2.5e-6)
    assert ops["gated_delta"].bytes_per_second is None
    for shares in (time.parts, time.ops):
        assert sum(share.share for share in shares) + time.other_seconds / time.seconds == pytest.approx(1)
        assert sum(share.weight_bytes for share in shares) == 19000
    assert [(s.part, s.op) for s in time.steps] == [(s.part, s.op) for s in STEPS]


# ---- reports ----


def rate(tokens: int, seconds: float) -> Rate:
    return Rate(tokens, tokens / seconds, 1.25 * tokens / seconds, seconds, 1.5 * seconds, 3)


def report() -> BenchReport:
    time = token_time(Profiled(STEPS, seconds=20e-6, tokens=2))
    runs = [
        Run(
            threads,
            rate(1, 1e-3 / threads),
            [rate(16, 8e-3), rate(128, 0.05)],
            FirstToken(16, 0.0123, 0.01, 0.0023, 5),
            9e9 * threads,
            ReadSpeed(10e9 * threads, 12e9 * threads),
            time,
        )
        for threads in (1, 2)
    ]
    machine = Machine("A processor", "Linux 6", 2, {"L1d": 32 << 10, "L2": 1 << 20, "L3": 48 << 20}, 8 << 30)
    memory = MemoryUse(7_200_000, 2_000_000, 300_000, 2_600_000, 45_000_000, 34_000_000, 20_000_000)
    return BenchReport(
        "dist/m", "m", "x86_64-avx2", "avx2", "0.1", "0.2", "2026-01-02T03:04:05+00:00", False, machine, 9_000_000, 3,
        0.5, runs, memory, ["a note"],
    )  # fmt: skip


KEYS = {
    "": "schema bundle name target kernels made_by chimerac date emulated machine decode_bytes rounds other_cores runs "
    "memory notes",
    "machine": "cpu system cores caches memory_bytes",
    "runs": "threads decode prefill first_token weight_bytes_per_second read_bytes_per_second time"
    " decode_after passes part_of_read_speed",
    "decode": "tokens tokens_per_second best_tokens_per_second seconds p90_seconds runs",
    "first_token": "prompt_tokens seconds open_seconds prompt_seconds runs",
    "read_bytes_per_second": "one_stream eight_streams",
    "time": "seconds other_seconds parts ops steps",
    "parts": "name parts seconds share weight_bytes",
    "steps": "part op seconds weight_bytes",
    "memory": "weights_bytes state_bytes arena_bytes session_bytes peak_bytes before_bytes private_bytes",
}


def test_keys_of_the_json_are_those_of_the_documentation() -> None:
    found = json.loads(report().json())
    run = found["runs"][1]
    places = {
        "": found,
        "machine": found["machine"],
        "runs": run,
        "decode": run["decode"],
        "first_token": run["first_token"],
        "read_bytes_per_second": run["read_bytes_per_second"],
        "time": run["time"],
        "parts": run["time"]["parts"][0],
        "steps": run["time"]["steps"][0],
        "memory": found["memory"],
    }
    assert {place: " ".join(value) for place, value in places.items()} == KEYS
    assert run["prefill"][0].keys() == run["decode"].keys()
    assert run["part_of_read_speed"] == pytest.approx(9 / 12)
    page = (ROOT / "docs" / "bench.md").read_text("utf-8")
    for keys in KEYS.values():
        for key in keys.split():
            assert f"`{key}`" in page, key


def test_the_table_has_a_column_for_each_number_of_threads() -> None:
    text = str(report())
    lines = text.splitlines()
    for label, values in {
        "Speed": "1 thread 2 threads",
        "  decode: tokens/s": "1,000 2,000",
        "    best": "1,250 2,500",
        "    90 % of tokens within ms": "1.50 0.75",
        "  prompt of 128: tokens/s": "2,560 2,560",
        "  first token in a fresh process: ms": "12.3 12.3",
        "  decode streams: GB/s": "9.0 18.0",
        "  this machine reads: GB/s, one stream": "10.0 20.0",
        "  decode's part of the faster": "75 % 75 %",
    }.items():
        (line,) = (line for line in lines if line.startswith(label))
        assert " ".join(line.removeprefix(label).split()) == values
    assert len({len(line) for line in lines if re.match(r" *(decode: |best|prompt of|opening)", line)}) == 1
    assert "m for x86_64-avx2, kernels avx2\nA processor, 2 cores, L2 1 MiB, L3 48 MiB, 8 GiB, Linux 6" in text
    assert "2026-01-02 03:04 UTC" in text
    assert lines[-1] == "* a note"
    assert not any(line.endswith(" ") for line in lines)


def test_small_shares_stand_together_and_all_of_them_add_up() -> None:
    lines = str(report()).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Where a token's time goes"))
    rows = lines[start + 1 : lines.index("", start)]
    assert rows[-2].startswith("  1 others"), "the embedding"
    assert rows[-1].startswith("  choosing it, its text")
    shares = [float(row[30:].split()[1]) for row in rows]
    assert sum(shares) == pytest.approx(100, abs=0.1 * len(rows))
    kernels = lines[next(i for i, line in enumerate(lines) if line.startswith("By kernel")) + 1 :]
    assert kernels[0].startswith("  ternary_matmul"), "the longest first"


def test_slow_models_are_told_in_milliseconds() -> None:
    slow = token_time(Profiled([replace(s, nanoseconds=s.nanoseconds * 10_000) for s in STEPS], 0.2, 2))
    text = str(replace(report(), runs=[replace(run, time=slow) for run in report().runs]))
    assert re.search(r"Where a token's time goes +ms +% +GB/s +ms", text)
    assert re.search(r"  head +12\.00 +12\.0 +0\.0 +12\.00", text)


def test_what_was_not_measured_is_left_out_or_a_dash() -> None:
    full = report()
    bare = [
        replace(run, decode=None, prefill=[], first_token=None, weight_bytes_per_second=None,
                read_bytes_per_second=None, time=None)
        for run in full.runs
    ]  # fmt: skip
    memory = MemoryUse(7_200_000, 2_000_000, 0, None, None, None, None)
    found = replace(full, runs=bare, memory=memory, decode_bytes=0, emulated=True, notes=())
    text = str(found)
    assert re.search(r"decode: tokens/s +- +-$", text, re.MULTILINE)
    assert "in an emulator" in text
    for absent in ("Weights", "Where a token's time", "prompt of", "first token", "peak", "arena", "* "):
        assert absent not in text
    assert json.loads(found.json())["runs"][0]["part_of_read_speed"] is None
    one = replace(full, runs=[full.runs[0], replace(bare[1], decode=rate(1, 0.5))])
    assert re.search(r"prompt of 16: tokens/s +2,000 +-$", str(one), re.MULTILINE)
    assert re.search(r"decode: tokens/s +1,000 +2\.00$", str(one), re.MULTILINE)


# ---- the machine ----


def test_this_machine_has_a_name_and_cores() -> None:
    machine = this_machine()
    assert machine.cpu
    assert machine.cores >= 1
    assert machine.cached_bytes >= 0
    assert all(re.fullmatch(r"L\dd?", level) and size > 0 for level, size in machine.caches.items())


def test_a_machine_that_tells_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench_machine, "_read", lambda path: "")
    monkeypatch.setattr(bench_machine, "_CPUS", tmp_path)
    machine = this_machine()
    assert machine.cpu
    assert machine.caches == {}
    assert machine.cached_bytes == 0
    assert bench_machine.available_bytes() == 1 << 30


def test_what_others_use(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, ticks = Clock(), [1000, 0, 500, 7, 7, 10, 20, 30, 0, 0]
    monkeypatch.setattr(bench_machine, "_read", lambda path: f"cpu  {' '.join(map(str, ticks))}\ncpu0 1 2 3\n")
    monkeypatch.setattr("chimerac.compiler.bench.machine.time.monotonic", clock)
    monkeypatch.setattr(bench_machine, "_own_seconds", lambda: clock.now - 50)  # one core
    others = bench_machine.Others()
    clock.wait(10)
    hertz = os.sysconf("SC_CLK_TCK")
    for index, seconds in ((0, 12), (2, 1), (3, 99), (4, 99), (7, 2)):  # 15 seconds of two cores, 10 of them our own
        ticks[index] += seconds * hertz
    assert others.cores() == pytest.approx(0.5)
    monkeypatch.setattr(bench_machine, "_own_seconds", lambda: clock.now + 100)
    assert others.cores() == 0, "clocks of different grain may disagree a little"
    monkeypatch.setattr(bench_machine, "_read", lambda path: "")
    assert others.cores() is None


def test_others_are_mentioned(bundle_session: Session) -> None:
    machine = this_machine()
    assert not any("other programs" in note for note in benching._limits(bundle_session, machine, False, 0.1))
    (note,) = (n for n in benching._limits(bundle_session, machine, False, 1.26) if "other programs" in n)
    assert "1.3 of" in note


def test_more_threads_than_cores_are_mentioned() -> None:
    assert list(benching._more_than_cores(2, 2)) == []
    assert "4 threads had 2 cores" in next(benching._more_than_cores(4, 2))
    assert "2 threads had one core" in next(benching._more_than_cores(2, 1))


def test_weights_that_fit_the_caches_are_mentioned(bundle_session: Session) -> None:
    machine = Machine("", "", 2, {"L2": 1 << 20, "L3": 2 << 20}, 0)
    small = replace(bundle_session.manifest, memory=Memory(1, 1, 1, decode_bytes=4 << 20))
    for size, told in ((4 << 20) - 1, True), (4 << 20, False), (0, False):
        bundle_session.manifest = replace(small, memory=replace(small.memory, decode_bytes=size))
        assert any("fit the caches" in n for n in benching._limits(bundle_session, machine, True, 0.0)) is told


def test_names_of_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_machine, "_read", lambda path: "processor : 0\nmodel name\t: Some CPU @ 3 GHz\n")
    assert this_machine().cpu.startswith("Some CPU @ 3 GHz (")


# ---- misuse ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": [1, 65]}, "65 threads"),
        ({"threads": [-1]}, "-1 threads"),
        ({"threads": [True]}, "True threads"),
        ({"prompts": [0]}, "a prompt of 0 tokens"),
        ({"prompts": [16, 1 << 20]}, "a prompt of 1048576 tokens"),
        ({"seconds": 0}, "0 seconds"),
        ({"seconds": float("nan")}, "nan seconds"),
        ({"seconds": "1"}, "'1' seconds"),
        ({"seconds": True}, "True seconds"),
    ],
)
def test_arguments_out_of_range(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        bench(tmp_path, **options)
    assert caught.value.code == "CHM420"


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="manifest") as caught:
        bench(tmp_path)
    assert caught.value.code == "CHM410"


def test_a_fresh_process_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"a fresh process cannot open the bundle: there is no bundle here") as caught:
        start_fresh(tmp_path, 1, [1])
    assert caught.value.code == "CHM421"


def test_the_start_of_the_median_is_shown() -> None:
    starts = [Start(3, 1), Start(1, 0.5), Start(1, 2)]
    found = benching._first_token(starts)
    assert (found.seconds, found.open_seconds, found.prompt_seconds, found.runs) == (3, 1, 2, 3)


def test_rates() -> None:
    found = benching._rate(16, [0.4, 0.1, 0.2])
    assert found.tokens_per_second == pytest.approx(80)
    assert found.best_tokens_per_second == pytest.approx(160)
    assert (found.seconds, found.p90_seconds, found.runs) == (0.2, 0.4, 3)
    assert benching._rate(1, [0.0]).tokens_per_second == pytest.approx(1e9), "a clock that stands still"
