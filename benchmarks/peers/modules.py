"""The tables of benchmarks/modules for docs/benchmarks.md: a row for each model and machine of the result files."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

#: Models of the result files, as the page calls them.
NAMES = {
    "smollm2": "sizes of SmolLM2-135M",
    "bonsai": "sizes of Ternary-Bonsai-1.7B",
    "bitnet": "sizes of BitNet-b1.58-2B-4T",
    "lstm": "LSTM, 2 layers of 512",
    "gpt": "GPT of 100 M weights",
}
OURS = "chimerac"


def long_context_rows(folder: Path) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: speed after a text and its ratio to that at the beginning, medians, by form of caches."""
    heads: dict[str, None] = {}
    rows: list[tuple[str, dict[str, str]]] = []
    for path in sorted(folder.glob("long-context-*.json")):
        file = json.loads(path.read_text("utf-8"))
        where = f"{file['machine']['processor']} ({file['machine']['family']})"
        for run in file["results"]:
            threads = f"{run['threads']} thread{'s' * (run['threads'] > 1)}"
            threads += ", processor time" * run.get("processor_time", False)
            cells: dict[str, str] = {}
            for cache, times in run["seconds"].items():
                heads[cache] = None
                ratio = statistics.median(a / b for a, b in zip(times["begin"], times["after"], strict=True))
                cells[cache] = f"{1 / statistics.median(times['after']):.0f} tokens/s, {ratio:.2f}"
            rows.append((f"{NAMES[run['model']]}, {run['layers']} layers, {threads}, {where}", cells))
    return ["", *heads], [[name, *(cells.get(head, "-") for head in heads)] for name, cells in rows]


def decode_rows(folder: Path) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of benchmarks/modules/run.py: medians of speeds, of peers with how many times as fast we are."""
    heads: dict[str, None] = {}
    rows = []
    for path in sorted(folder.glob("decode-*.json")):
        file = json.loads(path.read_text("utf-8"))
        where = f"{file['machine']['processor']} ({file['machine']['family']})"
        for run in file["results"]:
            times = run["microseconds"]
            heads |= dict.fromkeys(times)
            row = [f"{NAMES[run['model']]}, {run['threads']} thread{'s' * (run['threads'] > 1)}, {where}"]
            for name, rounds in times.items():
                ratio = statistics.median(a / b for a, b in zip(rounds, times[OURS], strict=True))
                speed = f"{1e6 / statistics.median(rounds):.0f} tokens/s"
                row.append(speed if name == OURS else f"{speed}, {ratio:.2f}")
            rows.append(row)
    return ["", *heads], rows
