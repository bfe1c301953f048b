"""Tokens per second of the ONNX bundles beside the native bundle of the same model, with the same threads.

    python benchmarks/onnx_bundles.py [config [threads]]

The bundles take turns, round after round, so that what else the machine does disturbs all alike; the median counts.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from chimerac.compiler.build.build import build
from chimerac.runtime.sessions.interface import Session
from chimerac.runtime.sessions.loading import load

TARGETS = ("x86_64-avx2", "onnx", "onnx-fused")
PREFILL, DECODE = 64, 48  #: tokens of each measurement; the prefill is four whole blocks
ROUNDS = 5


def prefill(session: Session, tokens: Sequence[int]) -> float:
    """Tokens per second of a prompt."""
    session.reset()
    begun = time.perf_counter()
    session.prefill(tokens)
    return len(tokens) / (time.perf_counter() - begun)


def decode(session: Session, tokens: Sequence[int]) -> float:
    """Tokens per second, one after the other, after a prompt that warms everything up."""
    begun = time.perf_counter()
    for token in tokens:
        session.prefill([token])
    return len(tokens) / (time.perf_counter() - begun)


def main(config: str = "home", threads: str = "1") -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = build(config, targets=TARGETS, out=Path(folder), check=False)
        sessions = {b.target: load(b.path, threads=int(threads)) for b in report.bundles}
        vocabulary = min(session.vocab_size for session in sessions.values())
        tokens = [(7 * i + 3) % min(vocabulary, 256) for i in range(PREFILL + DECODE)]
        speeds: dict[str, list[tuple[float, float]]] = {target: [] for target in sessions}
        for _ in range(ROUNDS + 1):
            for target, session in sessions.items():
                speeds[target].append((prefill(session, tokens[:PREFILL]), decode(session, tokens[PREFILL:])))
        print(f"{report.name}, {threads} thread(s), median of {ROUNDS} rounds")
        native = [statistics.median(column) for column in zip(*speeds[TARGETS[0]][1:], strict=True)]
        for target, rows in speeds.items():
            first, second = (statistics.median(column) for column in zip(*rows[1:], strict=True))  # without the warm-up
            print(
                f"{target:12}  prefill {first:8.0f} tokens/s ({first / native[0]:.3f} of native)"
                f"  decode {second:8.0f} tokens/s ({second / native[1]:.3f})"
            )
        for session in sessions.values():
            session.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
