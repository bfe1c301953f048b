"""The side of a measured system: a process that runs what it is asked for and answers with times, a JSON line each.

Workers run in the environments of the systems they measure, so this module needs nothing but Python.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

#: What times are taken with: the clock, or the processor, whose time other programs change little.
#: The latter is for one thread: those of several add up.
CLOCK = time.process_time if os.environ.get("PEERS_CLOCK") == "processor" else time.perf_counter


def serve(info: Mapping[str, Any], run: Callable[[dict[str, Any]], Any]) -> None:
    """Say ``info``, then answer each request of standard input with what ``run`` makes of it, until the input ends.

    Whatever else the process prints, from C too, goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    print(json.dumps(info), file=answers)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), file=answers)


def seconds_per_token(run: Callable[[list[int]], object], clear: Callable[[], object], what: str, tokens: int) -> float:
    """Time of some tokens in one call (``prefill``) or one by one, from an empty context, after a call to warm up."""
    numbers = [100 + token for token in range(tokens)]
    clear()
    run(numbers[:1])
    clear()
    begun = CLOCK()
    for part in [numbers] if what == "prefill" else [[number] for number in numbers]:
        run(part)
    return (CLOCK() - begun) / tokens
