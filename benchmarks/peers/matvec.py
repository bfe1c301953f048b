"""Matrix-vector products with ternary weights out of cache: this compiler, llama.cpp and ONNX Runtime, in turns.

    PYTHONPATH=src python benchmarks/peers/matvec.py --rows 6912 --columns 2560 --out matvec-6912x2560.json \\
        --llama native=ENVIRONMENT --llama avx2=ENVIRONMENT --onnx ENVIRONMENT --litespark ENVIRONMENT \\
        [--ours avx2:t2 --ours avx512vnni:t2]

ENVIRONMENT is the folder of a virtual environment with the peer; matvec_llama.py, matvec_onnx.py and
matvec_litespark.py say how to make it. All systems get float32 activations and give float32 results, so quantising the
activations is part of the time, and all multiply the same matrix, which every worker checks. Each cycles through copies
of it that together are many times larger than the last cache. A round is a turn of each system; the speed of reading
memory is measured as one of them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from read_speed import STREAMS
from turns import HERE, Worker, paired_ratio, rounded, run_benchmark, take_turns

MEMORY = 400_000_000


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=6912)
    parser.add_argument("--columns", type=int, default=2560)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--sweeps", type=int, default=2, help="through all copies, of a turn")
    parser.add_argument("--seconds", type=float, default=25, help="for one number of threads")
    parser.add_argument("--memory", type=int, default=MEMORY, help="bytes of copies at least")
    parser.add_argument("--llama", action="append", default=[], metavar="NAME=ENVIRONMENT")
    parser.add_argument("--onnx", metavar="ENVIRONMENT")
    parser.add_argument("--litespark", metavar="ENVIRONMENT")
    parser.add_argument("--ours", action="append", default=[], metavar="SET:FORM")
    parser.add_argument("--processor-time", action="store_true", help="in place of the clock's: for a busy machine")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    if given.processor_time and (given.threads != [1] or given.onnx):
        parser.error("--processor-time is for --threads 1, without --onnx")
    return given


def systems_of(workers: Mapping[str, Worker]) -> dict[str, tuple[Worker, dict[str, Any]]]:
    """Name of what is measured → its worker and the request; ours and the peers alternate."""
    found = {
        f"{name} {case}": (worker, {"case": case}) for name, worker in workers.items() for case in worker.info["cases"]
    }
    ours = workers["chimerac"]
    return found | {name: (ours, {"case": "read", "streams": streams}) for name, streams in STREAMS.items()}


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """The content of the result file."""
    clock = {"PEERS_CLOCK": "processor"} if given.processor_time else {}
    sizes = (str(given.rows), str(given.columns), str(given.memory))
    with ExitStack() as stack:

        def start(python: str | Path, script: str, *more: str) -> Worker:
            return stack.enter_context(Worker([python, HERE / script, *sizes, *more], clock))

        workers = {"chimerac": start(sys.executable, "matvec_ours.py", *given.ours)}
        for item in given.llama:
            name, _, environment = item.partition("=")
            workers[f"llama.cpp ({name})"] = start(Path(environment, "bin/python"), "matvec_llama.py")
        if given.onnx:
            workers["onnxruntime"] = start(Path(given.onnx, "bin/python"), "matvec_onnx.py")
        if given.litespark:
            workers["litespark"] = start(Path(given.litespark, "bin/python"), "matvec_litespark.py")
        systems = systems_of(workers)
        times: list[dict[str, Any]] = []
        for threads in given.threads:
            requests = {
                name: (worker, {**request, "threads": threads, "sweeps": given.sweeps})
                for name, (worker, request) in systems.items()
            }
            found = take_turns(requests, given.rounds, given.seconds)
            rounds = {name: [rounded(statistics.median(turn)) for turn in turns] for name, turns in found.items()}
            reads = {name: rounds.pop(name) for name in STREAMS}
            best = {name: rounded(min(min(turn) for turn in found[name])) for name in rounds}
            times.append({"threads": threads, "read": reads, "seconds": rounds, "best": best})
        versions = {k: v for worker in workers.values() for k, v in worker.info["versions"].items()}
        cases = {
            f"{name} {case}": facts for name, worker in workers.items() for case, facts in worker.info["cases"].items()
        }
    shape = {"rows": given.rows, "columns": given.columns}
    return {**shape, "versions": versions, "cases": cases, "runs": times}


def report(content: Mapping[str, Any]) -> None:
    """Print a table."""
    work = content["rows"] * content["columns"]
    print(f"{content['rows']} x {content['columns']}")
    for run in content["runs"]:
        reads = {name: statistics.median(speeds) for name, speeds in run["read"].items()}
        print(f"{run['threads']} threads; " + ", ".join(f"{name} {v / 1e9:.1f} GB/s" for name, v in reads.items()))
        ours = min((name for name in run["seconds"] if name.startswith("chimerac")), key=lambda n: run["best"][n])
        for name, seconds in run["seconds"].items():
            median, size = statistics.median(seconds), content["cases"][name]["bytes"]
            print(
                f"  {name:28} {1e6 * median:8.0f} us (best {1e6 * run['best'][name]:8.0f})"
                f" {work / median / 1e9:6.1f} G/s {size / median / 1e9:5.1f} GB/s"
                f" {100 * size / median / max(reads.values()):4.0f} % of read"
                f"  {paired_ratio(seconds, run['seconds'][ours]):5.2f} x {ours}"
            )


if __name__ == "__main__":
    run_benchmark("matvec", arguments(), measure, report)
