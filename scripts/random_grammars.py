"""Random grammars of a range of seeds, checked as in tests/passes/test_grammar_random.py; what was found, as JSON.

    python scripts/random_grammars.py --kind schemas --from 0 --to 10000 [--generations 20] [--jobs 16]

Needs numpy, lark, jsonschema, regex and, for the kind ``llguidance``, llguidance. Each seed is told of with its error,
and one that takes over ``--seconds`` of the processor is a finding, too. "not judged" counts the expressions of which a
text took its judge too long. Ends with 1 if there are findings.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import signal
import sys
import time
import traceback
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "support")]


class _TooLong(Exception):
    pass


def _stop(*_: object) -> None:
    raise _TooLong


def one(kind: str, generations: int, seconds: int, seed: int) -> tuple[int, str, str, float]:
    """(seed, code of a refusal, finding, seconds) of a seed."""
    from grammar_checks import CHECKS

    signal.signal(signal.SIGPROF, _stop)
    began = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, seconds)
    code = finding = ""
    try:
        code = CHECKS[kind](seed, generations)
    except _TooLong:
        finding = f"over {seconds} s\n" + traceback.format_exc()[-1500:]
    except BaseException:  # whatever a grammar leads to is told of
        finding = traceback.format_exc()[-3000:]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return seed, code, finding, time.process_time() - began


def run(kind: str, first: int, end: int, generations: int, jobs: int, seconds: int) -> dict[str, Any]:
    """The counts and the findings of a range of seeds."""
    codes: Counter[str] = Counter()
    findings, slowest = [], (0.0, first)
    began = time.time()
    with multiprocessing.Pool(jobs) as pool:
        results = pool.imap_unordered(partial(one, kind, generations, seconds), range(first, end), chunksize=4)
        for seed, code, finding, took in results:
            slowest = max(slowest, (took, seed))
            if finding:
                findings.append({"seed": seed, "error": finding})
            else:
                codes[code or "compiled"] += 1
    return {
        "kind": kind,
        "from": first,
        "to": end,
        "generations": generations,
        "counts": dict(sorted(codes.items())),
        "texts": codes["compiled"] * generations,
        "slowest": {"seconds": round(slowest[0], 2), "seed": slowest[1]},
        "seconds": round(time.time() - began, 1),
        "findings": sorted(findings, key=lambda finding: int(finding["seed"])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=("schemas", "expressions", "lark", "llguidance"), required=True)
    parser.add_argument("--from", type=int, required=True, dest="first")
    parser.add_argument("--to", type=int, required=True, dest="end")
    parser.add_argument("--generations", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=120)
    given = parser.parse_args()
    found = run(given.kind, given.first, given.end, given.generations, given.jobs, given.seconds)
    print(json.dumps(found, indent=1))
    sys.exit(bool(found["findings"]))


if __name__ == "__main__":
    main()
