"""The fused kernels of a plan, made beforehand by several processes: a run makes them one after the other.

Each length of rows has kernels of its own, which take most of a minute of one processor core. They lie in PyTorch's
caches (``TORCHINDUCTOR_CACHE_DIR``, ``TRITON_CACHE_DIR``), where a run with the same plan finds them.

``python -m chimerac.frontends.training.kernels PLAN PHASE LENGTH DEVICE`` is what each process does.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import torch

from chimerac.frontends.families.registry import find_family
from chimerac.frontends.training.data import Batch, share
from chimerac.frontends.training.distributed import joined
from chimerac.frontends.training.files import Integers
from chimerac.frontends.training.loop import PhaseRunner, prepare
from chimerac.frontends.training.module import make_module
from chimerac.frontends.training.settings import Plan, read_plan
from chimerac.frontends.weights.sources import RandomWeights

SEQUENCES = 4  #: of a pass: another number takes nearly the same kernels, and these hardly any memory
_WAIT: Final = 0.1  #: seconds between looks at the processes
_OF_A_GROUP: Final = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  #: what torchrun tells


def lengths_of(plan: Plan) -> list[tuple[int, int]]:
    """The phases by number and the lengths of their rows, each once, the longest first: these take longest."""
    found: dict[tuple[str, int], int] = {}
    for number, phase in enumerate(plan.phases):
        for length in phase.ends or (phase.sequence_length,):
            found.setdefault((phase.kind, length), number)
    return sorted(((number, length) for (_, length), number in found.items()), key=lambda one: -one[1])


def make_kernels(plan: Plan, file: Path, count: int, device: str, tell: Callable[[str], None]) -> None:
    """Fill PyTorch's caches with the kernels of a plan that is fused, ``count`` processes at a time.

    What fails is said and left to the run itself.

    Args:
        file: where the plan is written. device: "cpu" or "cuda".
    """
    left, began = lengths_of(plan), time.monotonic()
    all_of_them, failed = len(left), 0
    with _ended() as running:
        while left or running:
            while left and len(running) < count:
                number, length = left.pop(0)
                running[_start(file, number, length, device)] = length
            for process in [one for one in running if one.poll() is not None]:
                length, (_, said) = running.pop(process), process.communicate()
                if process.returncode:
                    failed += 1
                    lines = said.strip().splitlines() or [f"exit code {process.returncode}"]
                    tell(f"the kernels of rows of {length} tokens are made later: {lines[-1][:200]}")
            time.sleep(_WAIT)
    tell(f"made the kernels of {all_of_them - failed} of {all_of_them} lengths in {time.monotonic() - began:.0f} s")


@contextmanager
def _ended() -> Iterator[dict[subprocess.Popen[str], int]]:
    """Processes that run; those that still do are ended in the end."""
    running: dict[subprocess.Popen[str], int] = {}
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.communicate()


def _start(file: Path, number: int, length: int, device: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", __name__, str(file), str(number), str(length), device]
    own = {name: value for name, value in os.environ.items() if name not in _OF_A_GROUP}
    return subprocess.Popen(
        command, env=own, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


class _MadeUp:
    """Random rows of one length, half of each a target."""

    count = SEQUENCES

    def __init__(self, length: int, vocabulary: int, *, text: bool) -> None:
        source = np.random.default_rng(length)
        self._tokens = torch.from_numpy(source.integers(0, vocabulary, (SEQUENCES, length + 1)))
        self._text = text

    def batch(self, numbers: Integers, rank: int, world: int) -> Batch:
        own = share(numbers, rank, world)
        rows, next_ones = self._tokens[:, :-1].contiguous(), self._tokens[:, 1:].flatten()
        if self._text:
            return Batch(own, rows, None, next_ones, next_ones.numel())
        positions = torch.arange(0, next_ones.numel(), 2)
        return Batch(own, rows, positions, next_ones[positions], positions.numel())


def main(file: str, number: str, length: str, device: str) -> None:
    """One step of a phase of the plan in ``file`` with rows of ``length`` tokens."""
    read = read_plan(Path(file), None)
    phase = dataclasses.replace(
        read.phases[int(number)],
        steps=1,
        epochs=0.0,
        seconds=0.0,
        batch=SEQUENCES,
        sequence_length=int(length),
        ends=(),
    )
    plan = dataclasses.replace(read, phases=(phase,), graphs=False)
    with joined(device) as processes:
        model = make_module(plan)
        RandomWeights(find_family(plan.family), plan.shape, plan.shape.seed).fill(model)
        trained = prepare(model, plan, processes)
        source = _MadeUp(int(length), plan.shape.vocabulary, text=phase.kind == "pretrain")
        PhaseRunner(plan, 0, model, trained, source, processes, lambda _: None).step(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
