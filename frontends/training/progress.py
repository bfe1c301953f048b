"""One line per interval for people, one JSON object per interval for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from chimerac.frontends.training.files import read_whole, write_whole

LOG_FILE = "log.jsonl"


class Progress:
    """Collects what a step reports and tells it every ``interval`` steps; losses stay on the device until then.

    Args:
        start: length of the log to keep, in bytes: what a killed run wrote after its last save is dropped.
        tell: gets each line.
    """

    def __init__(self, folder: Path, start: int, tell: Callable[[str], None], interval: int) -> None:
        self.file, self.tell, self.interval = folder / LOG_FILE, tell, interval
        kept = read_whole(self.file, lambda stream: stream.read(start)) if self.file.exists() else b""
        write_whole(self.file, kept)
        self.bytes = len(kept)
        self.restart()

    def restart(self) -> None:
        """Begin an interval."""
        self.losses: list[Tensor] = []
        self.tokens, self.began = 0, time.monotonic()

    def count(self, loss: Tensor, tokens: int) -> None:
        """Note a step's mean loss and how many tokens it read."""
        self.losses.append(loss.detach())
        self.tokens += tokens

    def report(
        self, phase: str, step: int, steps: int, rate: float, norm: Tensor | None, balance: float, without: int = 0
    ) -> float:
        """Tell about the interval that ends with step ``step`` (from 1) and return its mean loss.

        Args:
            without: steps of the phase so far whose gradient was not finite.
        """
        loss = float(torch.stack(self.losses).mean())
        seconds = time.monotonic() - self.began
        per_second = self.tokens / max(seconds, 1e-9)
        row = {"phase": phase, "step": step, "loss": loss, "rate": rate, "tokens_per_second": round(per_second)}
        row["imbalance"] = round(balance, 4)
        if norm is not None:
            row["gradient"] = float(norm)
        if without:
            row["without_gradient"] = without
        left = (steps - step) * seconds / len(self.losses)
        line = f"{phase} {step}/{steps}  loss {loss:.4f}  rate {rate:.2e}  {per_second:,.0f} tokens/s"
        line += f"  experts +{100 * balance:.0f} %" if balance else ""
        line += f"  {without} without gradient" if without else ""
        self.tell(line + f"  {int(left) // 60}:{int(left) % 60:02d} left")
        self.write(row)
        self.restart()
        return loss

    def write(self, row: dict[str, object]) -> None:
        """Append a row to the log."""
        data = (json.dumps(row) + "\n").encode()
        with self.file.open("ab") as stream:
            stream.write(data)
        self.bytes += len(data)
