"""The table of benchmarks/modules/long_context.py for docs/benchmarks.md: a row for each model of a result file."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

#: Models of the result files, as the page calls them.
NAMES = {"smollm2": "sizes of SmolLM2-135M", "bonsai": "sizes of Ternary-Bonsai-1.7B"}


def long_context_rows(folder: Path) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: speed after a text and its ratio to that at the beginning, medians, by form of caches."""
    heads: dict[str, None] = {}
    rows = []
    for path in sorted(folder.glob("*.json")):
        file = json.loads(path.read_text("utf-8"))
        where = f"{file['machine']['processor']} ({file['machine']['family']})"
        for run in file["results"]:
            row = [f"{NAMES[run['model']]}, {run['layers']} layers, {run['threads']} thread, {where}"]
            for cache, times in run["seconds"].items():
                heads[cache] = None
                ratio = statistics.median(a / b for a, b in zip(times["begin"], times["after"], strict=True))
                row.append(f"{1 / statistics.median(times['after']):.0f} tokens/s, {ratio:.2f}")
            rows.append(row)
    return ["", *heads], rows
