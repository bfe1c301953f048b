"""Whole models with as many weights per token: decode and prefill of a bundle and of llama.cpp, in turns.

    PYTHONPATH=src python benchmarks/peers/model.py --bundle BUNDLE… --config CONFIG [--scale full] --out model.json \\
        --llama native=ENVIRONMENT --llama avx2=ENVIRONMENT --gguf tq2_0=FILE.gguf --gguf tq1_0=FILE.gguf

The bundles, for several targets, are built from CONFIG with random weights; llama_file.py writes models for llama.cpp.
Each bundle runs with the best kernel set of this machine, the first also with the plain one, looped layers once.
Decoding is of 32 tokens one by one from an empty state, prefill of a prompt of 128, as peers do it in their own
benchmarks.
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

from chimerac.frontends import config as language
from chimerac.frontends.families.chimera.from_config import shape as shape_of
from chimerac.frontends.families.chimera.sizes.parameters import count_parameters

TOKENS = {"decode": 32, "prefill": 128}
PLAIN = "avx2"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True, nargs="+")
    parser.add_argument("--config", required=True)
    parser.add_argument("--scale")
    parser.add_argument("--llama", action="append", default=[], metavar="NAME=ENVIRONMENT")
    parser.add_argument("--gguf", action="append", default=[], metavar="FORMAT=FILE")
    parser.add_argument("--what", nargs="+", choices=tuple(TOKENS), default=list(TOKENS))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=18, help="for one kind of work and number of threads")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def weights_of(config: str, scale: str | None) -> dict[str, int]:
    """Weights that one token is multiplied with, one iteration: ternary ones of the body, and the head's."""
    counts = count_parameters(shape_of(language.load(config, scale=scale)))
    routed = counts.routed * counts.experts_per_token // max(1, counts.experts)
    return {"ternary": counts.ternary_resident + routed, "head": counts.embedding}


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """The content of the result file."""
    files = [f"{name}={Path(path).resolve()}" for name, _, path in (item.partition("=") for item in given.gguf)]
    ours = weights_of(given.config, given.scale)
    with ExitStack() as stack:
        workers = {}
        choices = [*((bundle, "") for bundle in reversed(given.bundle)), (given.bundle[0], PLAIN)]
        for bundle, kernels in choices:
            command = [sys.executable, HERE / "model_ours.py", f"{kernels or 'best'}={bundle}"]
            name = f"chimerac {bundle} {kernels}"
            workers[name] = stack.enter_context(Worker(command, {"CHIMERA_CPU": kernels}))
            workers[name].info  # noqa: B018  one after the other: each maps and checks the weights
        for item in given.llama:
            name, _, environment = item.partition("=")
            command = [Path(environment, "bin/python"), HERE / "model_llama.py", *files]
            workers[f"llama.cpp ({name})"] = stack.enter_context(Worker(command))
        systems, cases = {}, {}
        for name, worker in workers.items():
            for case, facts in worker.info["cases"].items():
                if name.startswith("chimerac"):
                    label, facts = f"chimerac {facts['kernels']}", {**facts, "weights": sum(ours.values())}
                else:
                    label = f"{name} {case}"
                systems[label], cases[label] = (worker, {"case": case}), facts
        ours_first = next(iter(workers.values()))
        runs = []
        for threads in given.threads:
            for what in given.what:
                more = {"threads": threads, "what": what, "tokens": TOKENS[what]}
                requests = {name: (worker, {**request, **more}) for name, (worker, request) in systems.items()}
                for name, streams in STREAMS.items():
                    requests[name] = (ours_first, {"case": "read", "streams": streams, "threads": threads})
                found = take_turns(requests, given.rounds, given.seconds)
                seconds = {name: [rounded(value) for value in values] for name, values in found.items()}
                reads = {name: seconds.pop(name) for name in STREAMS}
                runs.append({"threads": threads, "what": what, "read": reads, "seconds": seconds})
        versions = {k: v for worker in workers.values() for k, v in worker.info["versions"].items()}
    return {
        "name": Path(given.bundle[0]).name.partition(".x86")[0],
        "ours": ours,
        "versions": versions,
        "cases": cases,
        "runs": runs,
    }


def report(content: Mapping[str, Any]) -> None:
    """Print a table."""
    print(content["name"], {name: f"{count / 1e6:.0f} M" for name, count in content["ours"].items()})
    for run in content["runs"]:
        print(f"{run['what']}, {run['threads']} threads")
        ours = next(iter(run["seconds"]))
        for name, seconds in run["seconds"].items():
            median, weights = statistics.median(seconds), content["cases"][name].get("weights", 0)
            print(
                f"  {name:28} {1 / median:7.1f} tokens/s (best {1 / min(seconds):7.1f}, {len(seconds)} rounds)"
                f" {weights / median / 1e9:6.1f} G weights/s,"
                f" ours is {paired_ratio(seconds, run['seconds'][ours]):5.2f} x"
            )


if __name__ == "__main__":
    run_benchmark("model", arguments(), measure, report)
