"""The side that asks: starts workers, gives them turns round by round, and compares rounds pairwise."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

HERE = Path(__file__).resolve().parent
#: Seconds before a turn: by then the threads of the system before have stopped waiting busily for more work.
SETTLE = 0.03


class Worker(AbstractContextManager["Worker"]):
    """A process that serves with ``worker.serve``.

    Attributes:
        info: what it said about itself.
    """

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        self._command = [str(part) for part in command]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  a pipe could fill
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self._info: dict[str, Any] | None = None

    @property
    def info(self) -> dict[str, Any]:
        if self._info is None:
            self._info = self._answer()
        return self._info

    def ask(self, request: Mapping[str, Any]) -> Any:
        """The answer to a request."""
        assert self.info is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise RuntimeError(f"{' '.join(self._command)} ended:\n{self._errors.read()[-4000:]}")
        return json.loads(line)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()


def take_turns(
    systems: Mapping[str, tuple[Worker, Mapping[str, Any]]], rounds: int, seconds: float = 1e9
) -> dict[str, list[Any]]:
    """Name → its worker's answer of each round, the first round left out: it is for caches and clocks.

    Args:
        systems: name → worker and request.
        rounds: that count.
        seconds: after which no other round begins.
    """
    found: dict[str, list[Any]] = {name: [] for name in systems}
    begun = time.monotonic()
    for round_ in range(rounds + 1):
        if round_ > 1 and time.monotonic() - begun > seconds:
            break
        for name, (worker, request) in systems.items():
            time.sleep(SETTLE)
            answer = worker.ask(request)
            if round_:
                found[name].append(answer)
    return found


def paired_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """Median of the ratios of rounds: what disturbs a round disturbs both."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def rounded(value: float, digits: int = 4) -> float:
    """To so many significant digits."""
    return float(f"{value:.{digits}g}")


def machine() -> dict[str, Any]:
    """Processor, caches, memory and system."""
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    features = set(fields.get("flags", "").split())
    wanted = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_vbmi", "amx_int8")
    caches = []
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            caches.append(f"L{level} {size}")
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return {
        "processor": fields.get("model name", platform.processor()),
        "family": f"family {fields.get('cpu family')}, model {fields.get('model')}",
        "cores": os.cpu_count(),
        "virtual": "hypervisor" in features,
        "features": [name for name in wanted if name in features],
        "caches": caches,
        "memory_gib": round(int(memory.split()[1]) / 2**20),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
    }


def write_result(path: Path, kind: str, content: Mapping[str, Any]) -> None:
    """A result file: what was measured, where and when, and ``content``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    whole = {"kind": kind, "date": date, "machine": machine(), **content}
    path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def run_benchmark(
    kind: str,
    given: argparse.Namespace,
    measure: Callable[[argparse.Namespace], dict[str, Any]],
    report: Callable[[Mapping[str, Any]], None],
) -> None:
    """Measure, print a table, and write the result file ``given.out``."""
    content = measure(given)
    report(content)
    write_result(given.out, kind, content)
