"""Benchmarks that measure everything once, however slow the machine is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from chimerac.compiler.bench import bench as benching
from chimerac.compiler.bench import machine as bench_machine

#: For ``seconds``: with less, a slow machine leaves prompts out.
LONG = 3600.0


def measure_once(patch: pytest.MonkeyPatch) -> None:
    """Every task runs once, whatever ``seconds`` is, and reading memory takes little of it."""

    def one_round(tasks: Sequence[Callable[[], None]], seconds: float, *, most: int = 1000) -> int:
        for task in tasks:
            task()
        return 1

    patch.setattr(benching, "take_turns", one_round)
    patch.setattr(bench_machine, "available_bytes", lambda: 128 * bench_machine.MIB)
