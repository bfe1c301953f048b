"""Two processes on one machine (gloo) train what one process trains, copied or sharded."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_tools import ALONE, CODEC

from chimerac.compiler.errors import UserError
from chimerac.frontends.training import Phase, Plan, train_plan, write_plan
from chimerac.frontends.training.data import DataFolder
from chimerac.frontends.training.distributed import joined
from chimerac.frontends.training.run import WEIGHTS_FILE

PROGRAM = textwrap.dedent(
    """
    import sys, torch
    from pathlib import Path
    from chimerac.frontends.training import read_plan, train_plan
    from chimerac.frontends.training.data import DataFolder
    from chimerac.frontends.training.distributed import joined
    from chimerac.frontends.training.evaluation import Codec

    torch.set_num_threads(1)
    plan, data, out = (Path(argument) for argument in sys.argv[1:4])
    codec = Codec(lambda t: list(t.encode()), lambda i: bytes(x % 128 for x in i).decode(), 256, 257)
    data = DataFolder(data, codec.encode, 257)
    with joined("cpu") as processes:
        train_plan(read_plan(plan), data, out / "whole", codec, processes, evaluated_rows=1)
        for stop in (0.0, 0.0, None):
            train_plan(read_plan(plan), data, out / "parts", codec, processes, stop_after=stop, evaluated_rows=1)
    """
)


def launch(plan: Plan, data: Path, out: Path, world: int) -> None:
    """What torchrun does, without its agent."""
    write_plan(plan, out.with_suffix(".json"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", PROGRAM, str(out.with_suffix(".json")), str(data), str(out)]
    processes = []
    for rank in range(world):
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(world),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
        }
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
    assert [process.wait(timeout=900) for process in processes] == [0] * world


@pytest.fixture
def plan(make_plan: Callable[..., Plan]) -> Plan:
    made = make_plan(micro_tokens=16, steps=4, clip=0.5)
    rows = Phase("rows", "sft", steps=3, sequence_length=24, batch=4, learning_rate=5e-3, warmup_steps=1)
    return replace(made, phases=(*made.phases, rows))


def spread_by(parallel: str, plan: Plan) -> Plan:
    """With fsdp all sequences of a step must be equally deep.

    The float form, because two orders of additions differ by 1e-7, and where that turns a rounding of an activation,
    the difference jumps to a whole step and spreads.
    """
    depth = "batch" if parallel == "fsdp" else "sequence"
    phases = tuple(replace(phase, depth=depth) for phase in plan.phases)  # type: ignore[arg-type]
    return replace(plan, parallel=parallel, phases=phases, ternary=False)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_two_processes_train_like_one_and_go_on_bit_for_bit(
    parallel: str, plan: Plan, folder: DataFolder, data_path: Path, tmp_path: Path
) -> None:
    plan = spread_by(parallel, plan)
    train_plan(plan, folder, tmp_path / "one", CODEC, ALONE, tell=lambda _: None, evaluated_rows=1)
    launch(plan, data_path, tmp_path / "two", 2)
    folders = (tmp_path / "one", tmp_path / "two" / "whole")
    rows = [[json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()] for path in folders]
    assert [row["loss"] for row in rows[0]] == pytest.approx([row["loss"] for row in rows[1]], rel=1e-3)
    assert [row["gradient"] for row in rows[0]] == pytest.approx([row["gradient"] for row in rows[1]], rel=2e-2)
    one, two = (load_file(path / WEIGHTS_FILE) for path in folders)
    assert all(torch.equal(one[name], two[name]) for name in one if name.endswith("router_bias"))
    distances = [float((one[name] - two[name]).abs().max()) for name in one]
    assert max(distances) < 7 * 2 * 5e-3  # a gradient of about zero may have either sign, and Adam moves by the rate
    assert sum(distances) / len(distances) < 5e-3
    parts = tmp_path / "two" / "parts" / WEIGHTS_FILE
    assert parts.read_bytes() == (tmp_path / "two" / "whole" / WEIGHTS_FILE).read_bytes()


@pytest.mark.parametrize("device", ["cuda", "cuda:3", "gpu"])
def test_devices_that_are_not_there(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError) as error, joined(device):
        pass
    assert error.value.code == "CHM258"
