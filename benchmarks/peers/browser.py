"""In a browser, one thread: a web bundle and wllama with as many weights per token, and both natively, in turns.

    PYTHONPATH=src python benchmarks/peers/browser.py --web BUNDLE --native BUNDLE --config CONFIG --out browser.json \\
        --packages NODE_MODULES --chromium /usr/bin/chromium --gguf tq2_0=FILE.gguf --llama ENVIRONMENT

browser.mjs says what NODE_MODULES must hold. The bundles are built from one config, the native one runs with its plain
kernel set. ENVIRONMENT is a virtual environment with llama-cpp-python, which runs wllama's file natively.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from model import PLAIN, report, weights_of
from turns import HERE, Worker, rounded, run_benchmark, take_turns

TOKENS = {"decode": 16, "prefill": 32}
#: "": the best one here, of the two with relaxed SIMD
MODULES = {"wasm relaxed": "", "wasm simd": "chimera.wasm"}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--web", required=True)
    parser.add_argument("--native", required=True)
    parser.add_argument("--config", required=True)
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--gguf", required=True, metavar="FORMAT=FILE")
    parser.add_argument("--llama", type=Path, metavar="ENVIRONMENT")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30, help="for one kind of work")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """The content of the result file."""
    format_name, _, model = given.gguf.partition("=")
    paths = [str(Path(path).resolve()) for path in (given.packages, given.chromium, model, given.web)]
    ours = weights_of(given.config, None)
    with ExitStack() as stack:
        page = stack.enter_context(Worker(["node", HERE / "browser.mjs", *paths, *MODULES.values()]))
        command = [sys.executable, HERE / "model_ours.py", f"native={given.native}"]
        native = stack.enter_context(Worker(command, {"CHIMERA_CPU": PLAIN}))
        systems = {f"chimerac {name}": (page, {"case": file}) for name, file in MODULES.items()}
        systems[f"chimerac native {PLAIN}"] = (native, {"case": "native"})
        systems[f"wllama {format_name}"] = (page, {"case": "wllama"})
        workers = [page, native]
        if given.llama:
            llama = Worker([given.llama / "bin/python", HERE / "model_llama.py", f"{format_name}={paths[2]}"])
            workers.append(stack.enter_context(llama))
            systems[f"llama.cpp native {format_name}"] = (workers[-1], {"case": format_name})
        cases = {name: dict(worker.info["cases"][request["case"]]) for name, (worker, request) in systems.items()}
        for name, facts in cases.items():
            if name.startswith("chimerac"):
                facts["weights"] = sum(ours.values())
        if given.llama:
            cases[f"wllama {format_name}"]["weights"] = cases[f"llama.cpp native {format_name}"]["weights"]
        runs = []
        for what, tokens in TOKENS.items():
            more = {"threads": 1, "what": what, "tokens": tokens}
            requests = {name: (worker, {**request, **more}) for name, (worker, request) in systems.items()}
            found = take_turns(requests, given.rounds, given.seconds)
            seconds = {name: [rounded(value) for value in values] for name, values in found.items()}
            runs.append({"threads": 1, "what": what, "seconds": seconds})
        versions = {k: v for worker in workers for k, v in worker.info["versions"].items()}
    return {"name": Path(given.web).name, "ours": ours, "versions": versions, "cases": cases, "runs": runs}


if __name__ == "__main__":
    run_benchmark("browser", arguments(), measure, report)
