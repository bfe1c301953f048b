"""The side of a measured system: a process that runs what it is asked for and answers with times, a JSON line each.

Workers run in the environments of the systems they measure, so this module needs nothing but Python.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any


def serve(info: Mapping[str, Any], run: Callable[[dict[str, Any]], Any]) -> None:
    """Say ``info``, then answer each request of standard input with what ``run`` makes of it, until the input ends.

    Whatever else the process prints, from C too, goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    print(json.dumps(info), file=answers)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), file=answers)
