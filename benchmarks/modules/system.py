"""What is measured: systems that take a token and give the logits of the next one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from torch import nn

import chimerac

#: Takes a token; the logits [V] of the next one.
Step = Callable[[int], np.ndarray]


@dataclass(frozen=True)
class System:
    """One of those that take turns; ``reset`` begins a text."""

    step: Step
    reset: Callable[[], None]


def onnx_options(threads: int) -> onnxruntime.SessionOptions:
    """As many threads as the others have."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return options


def compiled_bundle(model: nn.Module, folder: Path, threads: int, **more: Any) -> System:
    """The module's bundle."""
    report = chimerac.compile(model, name="benchmark", targets=["x86_64-avx2"], out=folder, **more)
    session = chimerac.load(report.bundles[0].path, threads=threads)

    def run(token: int) -> np.ndarray:
        session.prefill([token])
        found: np.ndarray = session.logits()
        return found

    return System(run, session.reset)
