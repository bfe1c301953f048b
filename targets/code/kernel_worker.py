"""The process that compiles kernels for ``kernel_queue``.

It reads pickled requests from standard input and answers on standard output. It ends when its input does, so none is
left when the build is gone.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from chimerac.targets.isa import Isa, load_isa
from chimerac.targets.kernel_spec import KernelSpec


@dataclass(frozen=True)
class Request:
    """A kernel to compile to ``place``; the instruction set by its name."""

    spec: KernelSpec
    isa: str
    symbol_suffix: str
    place: Path


@dataclass(frozen=True)
class Answer:
    """Seconds that a kernel took, or that it failed; the first answer, when the worker is ready, has 0 seconds."""

    seconds: float
    failed: bool = False


def named_isa(name: str, symbol_suffix: str) -> Isa:
    """The instruction set of that name whose symbols end like this."""
    return replace(load_isa(name), symbol_suffix=symbol_suffix)


def main() -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the build is told, and ends the workers
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between the answers
    sys.modules["torch"] = None  # type: ignore[assignment]  # TVM would load it, for nothing that is needed here
    from chimerac.targets.code.codegen import compile_object
    from chimerac.targets.kernels.tensorir import lower  # noqa: F401  the slow import comes before the first request

    _send(answers, Answer(0.0))
    while (request := _receive(sys.stdin.buffer)) is not None:
        try:
            isa = named_isa(request.isa, request.symbol_suffix)
            answer = Answer(compile_object(request.spec, isa, request.place))
        except Exception:  # the build compiles the kernel itself to see why
            answer = Answer(0.0, failed=True)
        _send(answers, answer)


def _receive(stream: BinaryIO) -> Request | None:
    try:
        request: Request = pickle.load(stream)
    except EOFError:
        return None
    return request


def _send(stream: BinaryIO, answer: Answer) -> None:
    pickle.dump(answer, stream)
    stream.flush()
