"""A published model's GGUF file: decode and prefill of its bundle and of llama.cpp on the very same file, in turns.

    PYTHONPATH=src python benchmarks/peers/published.py --bundle BUNDLE --gguf q2_0=FILE.gguf --name NAME \\
        --llama native=ENVIRONMENT --out published.json

The bundle is built of the file (``chimerac build FILE.gguf --target x86_64-avx2``) and runs with the best kernel set of
this machine and with the plain one. Decoding and prefill are those of model.py. ``--processor-time`` counts what the
thread has used of the processor. llama_file.py and hybrid_file.py write files in the shape of models that people have;
of a hybrid the bundle may be of the file in a rotated basis, and llama.cpp, which does not know that, reads the other.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from model import PLAIN, TOKENS, report
from read_speed import STREAMS
from turns import HERE, Worker, rounded, run_benchmark, take_turns


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--gguf", required=True, metavar="FORMAT=FILE")
    parser.add_argument("--name", required=True, help="what the page calls it")
    parser.add_argument("--llama", required=True, metavar="NAME=ENVIRONMENT")
    parser.add_argument("--weights", type=int, help="that a token is multiplied with, where a table is no head as well")
    parser.add_argument("--what", nargs="+", choices=tuple(TOKENS), default=list(TOKENS))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=40, help="for one kind of work and number of threads")
    parser.add_argument("--processor-time", action="store_true", help="in place of the clock's: for a busy machine")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    if given.processor_time and given.threads != [1]:
        parser.error("--processor-time is for --threads 1")
    return given


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """The content of the result file."""
    format_name, _, file = given.gguf.partition("=")
    label, _, environment = given.llama.partition("=")
    clock = {"PEERS_CLOCK": "processor"} if given.processor_time else {}
    streams_read = {} if given.processor_time else STREAMS
    with ExitStack() as stack:
        ours = [
            stack.enter_context(
                Worker(
                    [sys.executable, HERE / "model_ours.py", f"{kernels or 'best'}={given.bundle}"],
                    {"CHIMERA_CPU": kernels, **clock},
                )
            )
            for kernels in ("", PLAIN)
        ]
        command = [Path(environment, "bin/python"), HERE / "model_llama.py", f"{format_name}={Path(file).resolve()}"]
        peer = stack.enter_context(Worker(command, clock))
        theirs = peer.info["cases"][format_name]
        theirs["weights"] = given.weights or theirs["weights"]
        systems, cases = {}, {}
        for worker in ours:
            ((case, facts),) = worker.info["cases"].items()
            systems[f"chimerac {facts['kernels']}"] = (worker, {"case": case})
            cases[f"chimerac {facts['kernels']}"] = {**facts, "weights": theirs["weights"]}
        systems[f"llama.cpp ({label}) {format_name}"] = (peer, {"case": format_name})
        cases[f"llama.cpp ({label}) {format_name}"] = theirs
        runs = []
        for threads in given.threads:
            for what in given.what:
                more = {"threads": threads, "what": what, "tokens": TOKENS[what]}
                requests = {name: (worker, {**request, **more}) for name, (worker, request) in systems.items()}
                for name, streams in streams_read.items():
                    requests[name] = (ours[0], {"case": "read", "streams": streams, "threads": threads})
                found = take_turns(requests, given.rounds, given.seconds)
                seconds = {name: [rounded(value) for value in values] for name, values in found.items()}
                reads = {name: seconds.pop(name) for name in streams_read}
                runs.append({"threads": threads, "what": what, "seconds": seconds} | ({"read": reads} if reads else {}))
        versions = {k: v for worker in (*ours, peer) for k, v in worker.info["versions"].items()}
    return {
        "name": given.name,
        "ours": {"ternary": theirs["weights"]},
        "versions": versions,
        "cases": cases,
        "runs": runs,
    }


if __name__ == "__main__":
    run_benchmark("published", arguments(), measure, report)
