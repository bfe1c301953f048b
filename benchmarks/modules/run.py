"""Tokens per second of PyTorch modules: compiled by chimerac, in PyTorch, by torch.compile, and in ONNX Runtime.

    python benchmarks/modules/run.py [lstm gpt] [--threads N] [--tokens N] [--rounds N] [--out FILE]

Each system gets the same float32 weights and one token after another, as in decoding, with the state in its own form.
They take turns in one process, with a pause between, so that what else the machine does disturbs all alike; ratios are
medians of the ratios of rounds. Before that, each is checked against PyTorch's logits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gpt
import lstm
import numpy as np
import torch
from system import System

sys.path.insert(0, str(Path(__file__).parents[1] / "peers"))
from turns import SETTLE, machine, paired_ratio

MODELS: Mapping[str, Callable[[Path, int], dict[str, System]]] = {"lstm": lstm.systems, "gpt": gpt.systems}


def logits_of(system: System, tokens: list[int]) -> np.ndarray:
    """[T, V]."""
    system.reset()
    return np.stack([np.array(system.step(token)) for token in tokens])


def measure(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """Microseconds a token of each system and round."""
    tokens = [(37 * i + 11) % 256 for i in range(given.tokens)]
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        systems = MODELS[name](Path(folder), given.threads)
        expected = logits_of(systems["PyTorch"], tokens[:20])
        for label, system in systems.items():
            np.testing.assert_allclose(logits_of(system, tokens[:20]), expected, atol=1e-4, rtol=1e-4, err_msg=label)
        for round_ in range(given.rounds + 1):
            for label, system in systems.items():
                time.sleep(SETTLE)
                system.reset()
                system.step(tokens[0])
                begun = time.perf_counter()
                for token in tokens:
                    system.step(token)
                if round_:  # the first one is for caches and clocks
                    times.setdefault(label, []).append((time.perf_counter() - begun) / len(tokens) * 1e6)
    return {"model": name, "threads": given.threads, "microseconds": times}


def report(found: Mapping[str, Any]) -> None:
    """A line for each system."""
    times = found["microseconds"]
    print(f"{found['model']}, {found['threads']} thread(s)")
    for label, rounds in times.items():
        speed = 1e6 / statistics.median(rounds)
        ratio = paired_ratio(rounds, times["chimerac"])
        print(f"  {label:14} {speed:9.0f} tokens/s   chimerac is {ratio:5.2f} times as fast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="a JSON file for the results")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    results = []
    for name in given.models:
        results.append(measure(name, given))
        report(results[-1])
    if given.out:
        given.out.write_text(json.dumps({"machine": machine(), "results": results}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
