"""Tokens per second of whole bundles by numbers of threads, and of each module of a web bundle.

    python benchmarks/threads.py BUNDLE… [--threads 1,2,4] [--tokens N] [--rounds N] [--busy N]

All runs take turns, so that what else the machine does disturbs them alike; medians and the best are printed. Prefill
is a prompt of 128 tokens. With ``--busy N`` as many other programs compute all
the time. Web bundles run in Node, where a token also takes a message to it and back.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from chimerac.runtime import load
from chimerac.runtime.bundle_format import read_manifest
from chimerac.runtime.sessions.interface import Session
from chimerac.runtime.sessions.wasm import WasmSession

PROMPT = [token % 256 for token in range(1, 129)]


def sessions(folder: str, threads: Sequence[int]) -> dict[str, Callable[[], Session]]:
    """Name → what opens a session."""
    manifest = read_manifest(folder)
    if not manifest.target.startswith("wasm32"):
        return {f"{folder}, {n}": partial(load, folder, threads=n) for n in threads}
    modules = [file.name for file in manifest.files if file.role in ("code", "variant")]
    found: dict[str, Callable[[], Session]] = {}
    for name in modules:
        for n in threads if ".threads." in name else (1,):
            found[f"{folder}/{name.removesuffix('.wasm')}, {n}"] = partial(
                WasmSession, manifest, Path(folder), threads=n, variant=name
            )
    return found


def measure(session: Session, tokens: int) -> tuple[float, float]:
    """Seconds per token of a prompt and of generating."""
    session.reset()
    begun = time.perf_counter()
    session.prefill(PROMPT)
    prefilled = time.perf_counter()
    session.prefill(PROMPT[:1])
    begun_decode = time.perf_counter()
    for token in PROMPT[:tokens]:
        session.prefill([token])
    return (prefilled - begun) / len(PROMPT), (time.perf_counter() - begun_decode) / tokens


@contextmanager
def busy(count: int) -> Iterator[None]:
    """As many other processes that compute all the time."""
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+")
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--busy", type=int, default=0)
    given = parser.parse_args()
    openers = {name: open_ for folder in given.bundles for name, open_ in sessions(folder, given.threads).items()}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in openers}
    with ExitStack() as stack:
        stack.enter_context(busy(given.busy))
        opened = {name: stack.enter_context(open_()) for name, open_ in openers.items()}
        for round_ in range(given.rounds + 1):
            for name, session in opened.items():
                found = measure(session, given.tokens)
                if round_:  # the first one is for the caches and for the engine's compiler
                    seconds[name].append(found)
    print(f"{'tokens/s: median (best)':48} {'prefill':>16} {'decode':>16}")
    for name, found in seconds.items():
        columns = [(1 / statistics.median(column), 1 / min(column)) for column in zip(*found, strict=True)]
        print(f"{name:48}" + "".join(f" {median:8.0f} ({best:5.0f})" for median, best in columns))


if __name__ == "__main__":
    main()
