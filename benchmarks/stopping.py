"""How long a prompt goes on after it was told to stop: natively by a signal, on the web by an AbortSignal.

    python benchmarks/stopping.py BUNDLE… [--tokens N] [--stops N] [--within S] [--chromium PROGRAM]

Prefills of N tokens (100,000) are stopped at random times within S seconds (1); each goes on where the last was left
until that many were run, so that stops spread over all of the prompt, and the state is fresh from then on. Printed are
the median, the 99th percentile and the longest of the wall time from the moment a stop was due until the call had
returned. On a busy machine that is mostly waiting for a processor, so what the thread computed meanwhile stands
beside it ("processor"), and what it computed between two looks ("slice"). Web bundles run in Node.js, and with
playwright-core (``tests/browser/node_modules``) in the page and in the worker of headless Chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from chimerac.runtime import load
from chimerac.runtime.bundle_format import read_manifest

PROGRAM = Path(__file__).with_suffix(".mjs")
WEB = Path(__file__).resolve().parents[1] / "runtime" / "web" / "chimera.mjs"


class Stop:
    """A SIGINT of another thread after a delay, and when it was sent: wall time, and processor time of the caller."""

    def __init__(self, delay: float) -> None:
        self._clock = time.pthread_getcpuclockid(threading.get_ident())
        self.wall = self.processor = 0.0
        self.thread = threading.Thread(target=self._send, args=(delay,))

    def _send(self, delay: float) -> None:
        time.sleep(delay)
        self.processor, self.wall = time.clock_gettime(self._clock), time.perf_counter()
        os.kill(os.getpid(), signal.SIGINT)


def native(folder: str, tokens: Sequence[int], stops: int, within: float) -> dict[str, list[float]]:
    """Milliseconds of each stop, and of each slice."""
    found: dict[str, list[float]] = {"wall": [], "processor": [], "slice": []}
    rng = random.Random(1)
    last = 0.0

    def looked(done: int, total: int) -> None:
        nonlocal last
        now = time.thread_time()
        found["slice"].append(1000 * (now - last))
        last = now

    with load(folder, threads=1) as session:
        session.prefill(tokens[:4096])
        session.reset()
        while len(found["wall"]) < stops:
            stop = Stop(rng.uniform(0.005, within))
            last = time.thread_time()
            try:
                stop.thread.start()
                session.prefill(tokens[session.position :], on_progress=looked)
                session.reset()
                while True:  # the prompt was over before the signal came: it comes now, and is not counted
                    time.sleep(0.01)
            except KeyboardInterrupt:
                wall, processor = time.perf_counter(), time.thread_time()
            stop.thread.join()
            if session.position:
                found["wall"].append(1000 * (wall - stop.wall))
                found["processor"].append(1000 * (processor - stop.processor))
    return found


def on_the_web(folder: str, given: argparse.Namespace) -> dict[str, Mapping[str, list[float]]]:
    """The same of Node.js, and of Chromium's page and worker, by place."""
    settings = {"tokens": given.tokens, "stops": given.stops, "within": 1000 * given.within}
    settings |= {"library": WEB.as_uri(), "folder": str(Path(folder).resolve())}
    if given.chromium:
        settings |= {"packages": str(Path(given.node_modules).resolve()), "chromium": given.chromium}
    done = subprocess.run(["node", str(PROGRAM), json.dumps(settings)], stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+")
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--stops", type=int, default=100)
    parser.add_argument("--within", type=float, default=1.0)
    parser.add_argument("--node_modules", default="tests/browser/node_modules")
    parser.add_argument("--chromium")
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may have it ignored
    tokens = [int(token) for token in np.random.default_rng(0).integers(0, 256, given.tokens)]
    print(f"{'ms: median, 99 %, longest':52} {'wall':>24} {'processor':>24} {'slice':>24}")
    for folder in given.bundles:
        web = read_manifest(folder).target.startswith("wasm32")
        places = on_the_web(folder, given) if web else {"signal": native(folder, tokens, given.stops, given.within)}
        for place, found in places.items():
            line = f"{folder[-40:]} {place}".ljust(52)
            for column in (found.get(name) for name in ("wall", "processor", "slice")):
                shares = np.percentile(column, (50, 99, 100)) if column else ()
                line += " " + "".join(f"{share:8.1f}" for share in shares).rjust(24)
            print(line)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
