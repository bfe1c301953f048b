"""Whole runs: what they leave, stopping and going on bit for bit, kills at any moment, plans and their mistakes."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from faults import Faults
from safetensors.torch import load_file
from training_tools import ALONE, CODEC, model_of

from chimerac.compiler.errors import UserError
from chimerac.frontends.families.chimera.family import FAMILY
from chimerac.frontends.layers.quantization import ternary_codes
from chimerac.frontends.training import Phase, Plan, read_plan, train_plan, write_plan
from chimerac.frontends.training.checkpointing import STATE_FILE
from chimerac.frontends.training.data import DataFolder
from chimerac.frontends.training.files import write_whole
from chimerac.frontends.training.loop import PhaseRunner
from chimerac.frontends.training.run import METRICS_FILE, PACKED_FILE, PLAN_FILE, WEIGHTS_FILE
from chimerac.frontends.weights.checkpoint import load_safetensors
from chimerac.frontends.weights.packed import load_packed

Train = Callable[..., Path]


class Killed(Exception):
    """Stands for a process that ends without a word."""


@pytest.fixture
def train(folder: DataFolder) -> Train:
    def run(plan: Plan, out: Path, **options: object) -> Path:
        train_plan(plan, folder, out, CODEC, ALONE, tell=lambda _: None, **{"evaluated_rows": 1, **options})  # type: ignore[arg-type]
        return out

    return run


@pytest.fixture(scope="module")
def plan(make_plan: Callable[..., Plan]) -> Plan:
    """Two phases of all draws: depths per sequence, text and rows."""
    made = make_plan()
    rows = Phase("rows", "sft", steps=5, sequence_length=24, batch=4, learning_rate=5e-3, warmup_steps=1)
    return replace(made, phases=(*made.phases, rows))


def rows_of(out: Path) -> list[dict[str, object]]:
    """The log without its speeds."""
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    for row in rows:
        del row["tokens_per_second"]
    return rows


def test_a_run_leaves_weights_log_metrics_and_plan(plan: Plan, train: Train, tmp_path: Path) -> None:
    out = train(plan, tmp_path / "run", evaluated_rows=None)
    model = model_of(plan)
    load_safetensors(model, FAMILY.tensors(model.shape), out / WEIGHTS_FILE)
    assert [(row["phase"], row["step"]) for row in rows_of(out)] == [
        ("first", 2), ("first", 4), ("first", 6), ("rows", 2), ("rows", 4), ("rows", 5),
    ]  # fmt: skip
    metrics = json.loads((out / METRICS_FILE).read_text())
    assert 0 < metrics["bits_per_byte"] < 10
    assert metrics["seen"]["rows"] == 4
    assert set(metrics["seen"]["intents"]) == set("abcd")
    assert read_plan(out / PLAN_FILE) == plan
    packed = load_packed(out / PACKED_FILE, FAMILY.tensors(model.shape))
    group = model.shape.quantization.group_size
    for name, tensor in model.state_dict().items():
        codes, _ = ternary_codes(tensor, group)
        if "_proj" in name and "norm" not in name and tensor.ndim > 1 and tensor.shape[-2] > 2:
            assert torch.equal(codes, ternary_codes(torch.from_numpy(packed[name]), group)[0]), name


@pytest.mark.slow
def test_a_float_model_is_trained_but_not_packed(plan: Plan, train: Train, tmp_path: Path) -> None:
    out = train(replace(plan, ternary=False), tmp_path / "run")
    assert not (out / PACKED_FILE).exists()
    assert json.loads((out / METRICS_FILE).read_text())["ternary"] is False


@pytest.mark.slow
def test_a_run_depends_on_its_plan_only(plan: Plan, train: Train, tmp_path: Path) -> None:
    first, second = train(plan, tmp_path / "a"), train(plan, tmp_path / "b")
    other = train(replace(plan, seed=1), tmp_path / "c")
    assert (first / WEIGHTS_FILE).read_bytes() == (second / WEIGHTS_FILE).read_bytes()
    assert (first / WEIGHTS_FILE).read_bytes() != (other / WEIGHTS_FILE).read_bytes()


@pytest.mark.parametrize("kind", ["adamw", pytest.param("mezo_sparse", marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_bit_for_bit(
    kind: Literal["adamw", "mezo_sparse"], plan: Plan, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in every step of both phases, some twice in a row; at most the steps since the last save are repeated."""
    plan = replace(plan, phases=tuple(replace(phase, optimizer=kind, epsilon=1e-3) for phase in plan.phases))
    whole = train(plan, tmp_path / "whole")
    out = tmp_path / "killed"
    original = PhaseRunner.step
    executed: list[tuple[str, int]] = []
    allowed = 0

    def step(self: PhaseRunner, number: int, elapsed: float) -> tuple[torch.Tensor, int]:
        nonlocal allowed
        if not allowed:
            raise Killed
        allowed -= 1
        executed.append((self.phase.name, number))
        return original(self, number, elapsed)

    monkeypatch.setattr(PhaseRunner, "step", step)
    for budget in (1, 3, 2, 2, 3, 2, 100):
        allowed = budget
        try:
            train(plan, out)
            break
        except Killed:
            continue
    assert (out / METRICS_FILE).exists()
    repeated = len(executed) - len(set(executed))
    assert 3 <= repeated <= 6  # one step at most for each kill: saves are two steps apart
    for file in (WEIGHTS_FILE,):
        assert (out / file).read_bytes() == (whole / file).read_bytes()
    assert rows_of(out) == rows_of(whole)


@pytest.mark.slow
def test_a_run_stopped_by_time_goes_on_bit_for_bit(plan: Plan, train: Train, tmp_path: Path) -> None:
    whole = train(plan, tmp_path / "whole")
    out, calls = tmp_path / "stopped", 0
    while not (out / METRICS_FILE).exists():
        train(plan, out, stop_after=0.0)  # one step a call
        calls += 1
    assert 8 <= calls <= 11
    assert (out / WEIGHTS_FILE).read_bytes() == (whole / WEIGHTS_FILE).read_bytes()


@pytest.mark.slow
def test_a_process_killed_by_the_system_goes_on_bit_for_bit(
    plan: Plan, train: Train, tmp_path: Path, data_path: Path
) -> None:
    whole, out = train(plan, tmp_path / "whole"), tmp_path / "killed"
    write_plan(plan, tmp_path / "plan.json")
    program = textwrap.dedent(
        """
        import sys, time, torch
        from pathlib import Path
        from chimerac.frontends.training import read_plan, train_plan
        from chimerac.frontends.training.data import DataFolder
        from chimerac.frontends.training.distributed import Processes
        from chimerac.frontends.training.evaluation import Codec
        from chimerac.frontends.training.loop import PhaseRunner

        step = PhaseRunner.step

        def waiting_step(self, number, elapsed):
            while number == 4:  # after two saves: here the process waits for its end
                time.sleep(0.1)
            return step(self, number, elapsed)

        PhaseRunner.step = waiting_step
        torch.set_num_threads(1)
        plan, data, out = (Path(argument) for argument in sys.argv[1:])
        codec = Codec(lambda t: list(t.encode()), lambda i: bytes(x % 128 for x in i).decode(), 256, 257)
        processes = Processes(0, 1, torch.device("cpu"))
        train_plan(read_plan(plan), DataFolder(data, codec.encode, 257), out, codec, processes)
        """
    )
    command = [sys.executable, "-c", program, str(tmp_path / "plan.json"), str(data_path), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    while not (out / STATE_FILE).exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    train(plan, out)
    assert (out / WEIGHTS_FILE).read_bytes() == (whole / WEIGHTS_FILE).read_bytes()


@pytest.mark.slow
def test_a_kill_at_any_file_operation_loses_nothing(
    plan: Plan, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL at the k-th of them, and a run that goes on: the same weights and log; a finished run stays so."""
    whole, out = train(plan, tmp_path / "whole"), tmp_path / "killed"
    faults = Faults(out, None, monkeypatch)
    train(plan, out)
    last = faults.count
    assert last > 10
    for k in range(1, last + 1):
        shutil.rmtree(out)
        child = os.fork()
        if child == 0:
            faults.count, faults.at = 0, k
            try:
                train(plan, out)
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        train(plan, out)
        assert (out / WEIGHTS_FILE).read_bytes() == (whole / WEIGHTS_FILE).read_bytes(), k
        assert rows_of(out) == rows_of(whole), k
    print(f"{last} operations")


@pytest.mark.slow
def test_a_hundred_kills_at_any_time_lose_nothing(plan: Plan, train: Train, tmp_path: Path) -> None:
    """SIGKILL after a random time, again and again until the run is whole, then from the beginning."""
    began = time.monotonic()
    whole, out = train(plan, tmp_path / "whole"), tmp_path / "killed"
    longest = time.monotonic() - began
    kills = runs = 0
    while kills < 100:
        child = os.fork()
        if child == 0:
            try:
                train(plan, out)
            finally:
                os._exit(0)
        time.sleep(random.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        kills += killed
        if not killed or kills == 100:
            train(plan, out)  # changes nothing where the run is whole
            assert (out / WEIGHTS_FILE).read_bytes() == (whole / WEIGHTS_FILE).read_bytes()
            assert rows_of(out) == rows_of(whole)
            shutil.rmtree(out)
            runs += 1
    print(f"{kills} kills, {runs} whole runs")


class Clock:
    """A clock on which a training step takes a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.rates: list[float] = []
        original = PhaseRunner.step

        def step(runner: PhaseRunner, number: int, elapsed: float) -> tuple[torch.Tensor, int]:
            self.now += 1.0
            self.rates.append(runner.rate(number, elapsed))
            return original(runner, number, elapsed)

        monkeypatch.setattr(PhaseRunner, "step", step)
        monkeypatch.setattr("chimerac.frontends.training.run.time.monotonic", lambda: self.now)


@pytest.mark.parametrize("seconds", [1.0, 6.0, 6.4])
def test_a_phase_lasts_its_time_and_its_rate_follows_the_clock(
    seconds: float, make_plan: Callable[..., Plan], train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    train(make_plan(steps=0, seconds=seconds, warmup_steps=0, final_rate=0.1), tmp_path / "run")
    expected = [
        5e-3 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1, n / seconds)))) for n in range(len(clock.rates))
    ]
    assert clock.rates == pytest.approx(expected)
    # a run can't know its pace before its second step
    assert len(clock.rates) == max(2, round(seconds))


def test_a_timed_phase_goes_on_with_the_time_that_is_left(
    make_plan: Callable[..., Plan], train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    plan = make_plan(steps=0, seconds=4.0, warmup_steps=0)
    train(plan, tmp_path / "whole")
    whole, clock.rates = clock.rates, []
    train(plan, tmp_path / "parts", stop_after=2.5)
    clock.now += 1000  # nobody trains meanwhile
    train(plan, tmp_path / "parts")
    assert clock.rates == whole
    files = [tmp_path / name / WEIGHTS_FILE for name in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_save_appears_whole_or_not_at_all(
    plan: Plan, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = train(plan, tmp_path / "run")
    before = (out / STATE_FILE).read_bytes()

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(UserError, match="No space left") as error:
        write_whole(out / STATE_FILE, b"x" * 100)
    assert error.value.code == "CHM256"
    assert (out / STATE_FILE).read_bytes() == before


@pytest.mark.slow
def test_preferences_go_on_with_their_first_reference(
    make_plan: Callable[..., Plan], train: Train, tmp_path: Path
) -> None:
    plan = make_plan(kind="dpo", sequence_length=24, steps=5)
    whole = train(plan, tmp_path / "whole")
    out = tmp_path / "stopped"
    while not (out / METRICS_FILE).exists():
        train(plan, out, stop_after=0.0)
    assert (out / WEIGHTS_FILE).read_bytes() == (whole / WEIGHTS_FILE).read_bytes()


def test_training_starts_from_given_weights(
    make_plan: Callable[..., Plan], plan: Plan, train: Train, tmp_path: Path
) -> None:
    first = train(plan, tmp_path / "first")
    still = make_plan(learning_rate=1e-12, weight_decay=0.0, steps=1, balance=False)
    second = train(still, tmp_path / "second", weights=first / WEIGHTS_FILE)
    old, new = load_file(first / WEIGHTS_FILE), load_file(second / WEIGHTS_FILE)
    for name, tensor in old.items():
        torch.testing.assert_close(new[name], tensor)


def test_another_plan_is_not_mixed_in(plan: Plan, train: Train, tmp_path: Path) -> None:
    out = train(plan, tmp_path / "run")
    with pytest.raises(UserError, match="another model, phases or seed") as error:
        train(replace(plan, seed=9), out)
    assert error.value.code == "CHM257"
    (out / STATE_FILE).write_bytes(b"\x00" * 50)
    with pytest.raises(UserError, match="no state of a training run"):
        train(plan, out)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch": 0}, "first: batch must be positive"),
        ({"sequence_length": 1}, "sequence_length must be 2"),
        ({"learning_rate": -1.0}, "negative"),
        ({"ends": (16, 8)}, "ends must rise"),
        ({"ends": (8, 32)}, "up to sequence_length"),
        ({"micro_tokens": 0}, "micro_tokens"),
        ({"clip": 0.0}, "clip"),
        ({"beta2": 1.0}, "beta2"),
        ({"final_rate": 2.0}, "final_rate"),
        ({"plan": {"phases": ()}}, "no phases"),
        ({"plan": {"log_interval": 0, "seed": -1}}, "seed must not be negative; log_interval"),
    ],
)
def test_impossible_numbers_in_a_plan_are_refused(
    fields: dict[str, object], message: str, make_plan: Callable[..., Plan], train: Train, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message) as error:
        train(make_plan(**fields), tmp_path / "run")
    assert error.value.code == "CHM250"
    assert not (tmp_path / "run").exists()


def test_an_out_that_is_a_file_is_refused(plan: Plan, train: Train, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="can't make the folder") as error:
        train(plan, tmp_path / "run")
    assert error.value.code == "CHM256"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phases": [{"name": "x", "stepz": 3}]}, "did you mean"),
        ({"phases": [{"name": "x", "kind": "rlhf"}]}, "'rlhf'"),
        ({"phases": 3}, "must be a list"),
        ({"seed": "a"}, "type int"),
        ({"precision": "int4"}, "'int4'"),
        ({"shape": {}}, "missing"),
    ],
)
def test_mistakes_in_a_plan_are_named(change: dict[str, object], message: str, plan: Plan, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    write_plan(plan, file)
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match=message) as error:
        read_plan(file)
    assert error.value.code == "CHM250"
