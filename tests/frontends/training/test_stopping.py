"""Ctrl-C during training: what was trained is saved, and the same call goes on to the same bits."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from training_tools import ALONE, CODEC

from chimerac.frontends.training import Plan, train_plan
from chimerac.frontends.training.checkpointing import STATE_FILE, read_place
from chimerac.frontends.training.data import Batch, DataFolder
from chimerac.frontends.training.loop import PhaseRunner
from chimerac.frontends.training.run import WEIGHTS_FILE
from chimerac.frontends.training.signals import after_this

Make = Callable[..., Plan]
LOSSES, UPDATE = PhaseRunner._losses, torch.optim.AdamW.step


def in_the_pass(patch: pytest.MonkeyPatch, step: int, signals: int = 1) -> None:
    """A signal in pass ``step`` (from 0) of a run; of gradients each step has one."""
    calls = []

    def losses(self: PhaseRunner, batch: Batch, depths: Tensor | None, *, backward: bool = False) -> Tensor:
        calls.append(1)
        for _ in range(signals if len(calls) == step + 1 else 0):
            os.kill(os.getpid(), signal.SIGINT)
        return LOSSES(self, batch, depths, backward=backward)

    patch.setattr(PhaseRunner, "_losses", losses)


def in_the_update(patch: pytest.MonkeyPatch, step: int) -> None:
    """A signal just before step ``step`` moves the weights."""
    calls = []

    def update(self: torch.optim.AdamW) -> None:
        calls.append(1)
        if len(calls) == step + 1:
            os.kill(os.getpid(), signal.SIGINT)
        UPDATE(self)

    patch.setattr(torch.optim.AdamW, "step", update)


@pytest.mark.parametrize(
    ("optimizer", "interrupt", "step", "saved"),
    [
        ("adamw", in_the_pass, 3, 3),
        ("adamw", in_the_update, 3, 4),
        ("mezo", in_the_pass, 6, 4),
        ("mezo", in_the_pass, 7, 4),
        ("mezo_sparse", in_the_pass, 7, 4),
    ],
)
def test_an_interrupted_run_goes_on_where_it_was(
    make_plan: Make,
    folder: DataFolder,
    tmp_path: Path,
    optimizer: str,
    interrupt: Callable[[pytest.MonkeyPatch, int], None],
    step: int,
    saved: int,
) -> None:
    """A step of MeZO, which moves the weights to both sides, is done to its end first."""
    plan, lines = make_plan(plan={"log_interval": 100, "save_interval": 100}, optimizer=optimizer), list[str]()

    def run(out: Path) -> None:
        train_plan(plan, folder, out, CODEC, ALONE, tell=lines.append, evaluated_rows=1)

    run(tmp_path / "whole")
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, step)
        with pytest.raises(KeyboardInterrupt):
            run(out)
    assert lines[-1] == f"saved step {saved} of first; the same command goes on from there"
    assert read_place(out, plan.digest()).step == saved
    run(out)
    expected, found = load_file(tmp_path / "whole" / WEIGHTS_FILE), load_file(out / WEIGHTS_FILE)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize("optimizer", ["adamw", "mezo"])
def test_nothing_is_saved_where_nothing_was_trained(
    make_plan: Make, folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    in_the_pass(monkeypatch, 0, signals=1 if optimizer == "adamw" else 2)
    with pytest.raises(KeyboardInterrupt):
        train_plan(make_plan(optimizer=optimizer), folder, tmp_path, CODEC, ALONE, tell=lambda _: None)
    assert not (tmp_path / STATE_FILE).exists()


def test_a_signal_acts_after_what_must_be_whole() -> None:
    done = []

    def interrupted() -> None:
        with after_this():
            os.kill(os.getpid(), signal.SIGINT)
            done.append(1)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def elsewhere() -> None:
        with after_this():
            done.append(2)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert done == [1, 2]
