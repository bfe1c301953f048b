"""What a benchmark found, on which machine: as a table, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from chimerac.compiler.bench.figures import MemoryUse, Run
from chimerac.compiler.bench.machine import Machine
from chimerac.compiler.bench.text import head_lines, render

#: Version of the JSON; keys are added, not changed, within one version.
SCHEMA = 1


@dataclass(frozen=True)
class BenchReport:
    """The result of ``bench``; ``str`` of it is a table, ``json`` the same for programs.

    Attributes:
        bundle: the folder.
        decode_bytes: of weights that are read for a token; 0 if the bundle does not tell.
        rounds: how often each thing was measured, in turns.
        other_cores: that other programs used meanwhile; None if that cannot be told.
        notes: what could not be measured, and what the numbers mean where that is not obvious.
    """

    bundle: str
    name: str
    target: str
    kernels: str
    made_by: str
    chimerac: str
    date: str
    emulated: bool
    machine: Machine
    decode_bytes: int
    rounds: int
    other_cores: float | None
    runs: Sequence[Run]
    memory: MemoryUse
    notes: Sequence[str] = field(default_factory=tuple)

    def json(self) -> str:
        """An object with the fields of this class and those in it; docs/bench.md explains the keys."""
        value = {"schema": SCHEMA, **asdict(self)}
        for run, made in zip(value["runs"], self.runs, strict=True):
            run["part_of_read_speed"] = made.part_of_read_speed
        return json.dumps(value, indent=2, ensure_ascii=False)

    def __str__(self) -> str:
        head = head_lines(
            self.name, self.target, self.kernels, self.emulated, self.machine, self.date, self.chimerac, self.made_by
        )
        return render(head, self.runs, self.decode_bytes, self.memory, self.notes)
