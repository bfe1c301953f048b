"""Float32 islands: functions whose arithmetic never runs in reduced precision, even under autocast."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _widen(value: object) -> object:
    narrow = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if narrow and isinstance(value, Tensor) else value


def float32_island(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Run ``function`` with autocast off and its half-precision tensor arguments widened to float32.

    Norms, quantisers, exponential gates, recurrent states, triangular solves and the router need this: they decide
    exponents or discrete choices, which bfloat16's 8 bits change.
    """

    @functools.wraps(function)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        device = next((a.device.type for a in args if isinstance(a, Tensor)), "cpu")
        if not torch.is_autocast_enabled(device):
            return function(*args, **kwargs)
        wide_args = tuple(_widen(a) for a in args)
        wide_kwargs = {name: _widen(a) for name, a in kwargs.items()}
        with torch.autocast(device, enabled=False):
            return function(*wide_args, **wide_kwargs)  # type: ignore[arg-type]

    return wrapped
