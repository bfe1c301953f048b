"""The process that calls kernels of other packages for ``own_checks``: one that crashes ends nothing else.

It reads a pickled ``Trial`` from standard input and writes the pickled results to standard output.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import sys
from dataclasses import dataclass

import numpy as np

GUARD = 64  #: bytes behind every result that a kernel must leave alone
FILL = 0xA5


@dataclass(frozen=True)
class Trial:
    """A call: the file and the symbol, arguments in order, bytes of each result, and ``n`` where it is asked for."""

    library: str
    symbol: str
    arguments: tuple[np.ndarray | int, ...]
    results: tuple[int, ...]
    tokens: int | None


def call(trial: Trial) -> list[bytes] | str:
    """The bytes of the results, or what the kernel did that it must not."""
    held = [a if isinstance(a, int) else np.ascontiguousarray(a).copy() for a in trial.arguments]
    made = [np.full(size + GUARD, FILL, np.uint8) for size in trial.results]
    arguments = [ctypes.c_int32(a) if isinstance(a, int) else ctypes.c_void_p(a.ctypes.data) for a in held]
    arguments += [ctypes.c_void_p(result.ctypes.data) for result in made]
    arguments += [] if trial.tokens is None else [ctypes.c_int32(trial.tokens)]
    function = ctypes.CDLL(trial.library)[trial.symbol]
    function.restype = None
    function(*arguments)
    for place, (given, now) in enumerate(zip(trial.arguments, held, strict=True)):
        if (
            not isinstance(given, int)
            and not isinstance(now, int)
            and now.tobytes() != np.ascontiguousarray(given).tobytes()
        ):
            return f"changes its operand {place}"
    for place, (size, result) in enumerate(zip(trial.results, made, strict=True)):
        if (result[size:] != FILL).any():
            return f"writes behind its result {place}"
    return [result[:size].tobytes() for size, result in zip(trial.results, made, strict=True)]


def main() -> None:
    """Answer one request."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a kernel prints must not come into the answer
    trial: Trial = pickle.load(sys.stdin.buffer)
    pickle.dump(call(trial), answers)
    answers.flush()
