"""Ctrl-C in the middle of a step: a backward pass is one call, which looks at signals only where Python runs."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from torch import Tensor, nn


def look_at_signals(model: nn.Module) -> None:
    """Let the backward pass come by Python at the output of every module inside; no number changes.

    On a processor the pass runs in the calling thread, where a signal's handler then raises out of it.
    """
    for module in model.modules():
        module.register_forward_hook(_look)


def _look(module: nn.Module, inputs: object, output: object) -> None:
    del module, inputs
    if isinstance(output, Tensor) and output.requires_grad:
        output.register_hook(_nothing)


def _nothing(gradient: Tensor) -> None:
    """Entering it is when signals are looked at."""


@contextlib.contextmanager
def after_this(*, patience: int = 0) -> Iterator[None]:
    """Ctrl-C meanwhile acts at the end: for what must not be done by halves.

    ``patience``: of so many, for what is not short either; the next one acts at once. 0: of any number.
    """
    if threading.current_thread() is not threading.main_thread():  # signals come to the main thread only
        yield
        return
    usual, came = signal.getsignal(signal.SIGINT), []

    def keep(number: int, frame: FrameType | None) -> None:
        came.append((number, frame))
        if callable(usual) and len(came) == patience + 1 and patience:
            came.clear()
            usual(number, frame)

    signal.signal(signal.SIGINT, keep)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if came and callable(usual):
            usual(*came[0])
