"""Chains of elementwise operations as one kernel each, so that less of training goes through memory.

A function that is ``fusible`` is what it says until ``fusing`` is entered; then ``torch.compile`` makes one kernel or
a few of what would be one kernel for each operation, forward and backward. Sums run in another order there, so results
differ in the last places. Only leading axes (sequences, tokens) may change from call to call without a new kernel.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

_P = ParamSpec("_P")
_R = TypeVar("_R")
_backend: ContextVar[str] = ContextVar("fusing", default="")  #: "" where nothing is fused
FORMS = 512  #: kernels of a function: head counts, widths, chunk sizes, with and without gradients


def is_fusing() -> bool:
    """Whether fusible functions are compiled here."""
    return not torch.compiler.is_compiling() and bool(_backend.get())


def fusible(**leading: int) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """A function of tensors that may run as one kernel.

    Args:
        leading: by name of an argument, how many of its first axes have other sizes from call to call.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        names = list(inspect.signature(function).parameters)
        moving = [(names.index(name), count) for name, count in leading.items()]

        @functools.wraps(function)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            if not is_fusing():
                return function(*args, **kwargs)
            for place, count in moving:
                tensor = args[place]
                assert isinstance(tensor, Tensor)
                for axis in range(count):
                    torch._dynamo.maybe_mark_dynamic(tensor, axis)
            found: _R = _compiled(function, _backend.get())(*args, **kwargs)
            return found

        return call

    return decorate


@functools.cache
def _compiled(function: Callable[..., Any], backend: str) -> Callable[..., Any]:
    return torch.compile(function, dynamic=False, fullgraph=True, backend=backend)


@contextmanager
def fusing(backend: str = "inductor") -> Iterator[None]:
    """Compile what is fusible. ``backend``: of ``torch.compile``."""
    torch._dynamo.config.recompile_limit = FORMS
    torch._dynamo.config.accumulated_recompile_limit = 16 * FORMS
    if backend == "inductor":
        _set_up_inductor()
    token = _backend.set(backend)
    try:
        yield
    finally:
        _backend.reset(token)


@functools.cache
def _set_up_inductor() -> None:
    """Rounds quotients as PyTorch does: a rounded activation must be the one that a runtime computes.

    And looks for no tiles: PyTorch 2.11 fails on chains over sizes that are not known (``get_pw_red_splits``).
    """
    from torch._inductor import config

    triton: Any = config.triton
    triton.coalesce_tiling_analysis = False

    numerics: Any = getattr(config, "eager_numerics", None)  # older ones always divide so, or never do
    if numerics is not None:
        numerics.division_rounding = True


def why_not(device: torch.device) -> str | None:
    """Why nothing can be fused on a device, in one line; None where it can: a small chain is tried."""
    x = torch.ones(4, 8, device=device, requires_grad=True)
    try:
        with fusing():
            _trial(x).sum().backward()
    except Exception as error:  # Triton or a C++ compiler is missing, in many ways
        return (str(error).splitlines() or [type(error).__name__])[0]
    assert x.grad is not None
    return None


@fusible(x=1)
def _trial(x: Tensor) -> Tensor:
    return torch.sigmoid(x) * x
