"""Tokens per second of PyTorch modules: compiled by chimerac, in PyTorch, by torch.compile, and in ONNX Runtime.

    python benchmarks/modules/run.py [lstm gpt] [--threads N…] [--tokens N] [--rounds N] [--out FILE]

Each system gets the same float32 weights and one token after another, as in decoding, with the state in its own form.
They take turns in one process, with a pause between, so that what else the machine does disturbs all alike; ratios are
medians of the ratios of rounds. Before that, each is checked against PyTorch's logits. Without ``--out`` results are
written to ``benchmarks/results/modules``, in a file of the processor's, which ``benchmarks/peers/page.py`` reads.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
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


def measure(name: str, threads: int, given: argparse.Namespace) -> dict[str, Any]:
    """Microseconds a token of each system and round."""
    torch.set_num_threads(threads)
    tokens = [(37 * i + 11) % 256 for i in range(given.tokens)]
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        systems = MODELS[name](Path(folder), threads)
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
    return {"model": name, "threads": threads, "microseconds": times}


def report(found: Mapping[str, Any]) -> None:
    """A line for each system."""
    times = found["microseconds"]
    print(f"{found['model']}, {found['threads']} thread(s)")
    for label, rounds in times.items():
        speed = 1e6 / statistics.median(rounds)
        ratio = paired_ratio(rounds, times["chimerac"])
        print(f"  {label:14} {speed:9.0f} tokens/s   chimerac is {ratio:5.2f} times as fast")


def own_file(found: Mapping[str, Any]) -> Path:
    """The result file of a machine: named after its processor."""
    words = re.findall("[a-z0-9]+", f"{found['processor']} {found['family']}".lower())
    name = "-".join(word for word in words if word not in ("amd", "intel", "r", "cpu", "processor", "family", "model"))
    return Path(__file__).parents[1] / "results" / "modules" / f"decode-{name}.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="a JSON file for the results")
    given = parser.parse_args()
    found = machine()
    versions = {name: version(name) for name in ("torch", "onnxruntime")}
    results: list[dict[str, Any]] = []
    for name, threads in itertools.product(given.models, given.threads):
        results.append(measure(name, threads, given))
        report(results[-1])
        content = {"machine": found, "versions": versions, "results": results}
        (given.out or own_file(found)).write_text(json.dumps(content, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
