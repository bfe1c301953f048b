"""Tracing with ``torch.export``, and what its failures say."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import logging
import sys
import typing
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from chimerac.compiler.errors import UserError
from chimerac.frontends.export.causes import cause_of, line_of
from chimerac.frontends.export.functional import Mutations, functional
from chimerac.frontends.export.places import span_of
from chimerac.frontends.export.recurrent import WholeRecurrences
from chimerac.frontends.export.walker import KNOWN


class TracingError(UserError):
    """CHM210. ``error`` is PyTorch's; ``batched`` that of a second attempt, with an axis of one in front."""

    def __init__(self, module: torch.nn.Module, error: Exception) -> None:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        cause, place = cause_of(error), line_of(error, module)
        path = f" in {place.path}" if place is not None and place.path else ""
        why = f"{cause.name}{path}: " if cause is not None else ""
        hint = cause.advice if cause is not None else "forward must be traceable with a dynamic number of tokens"
        super().__init__(
            "CHM210",
            f"torch.export cannot trace {type(module).__name__}: {why}{first}",
            span=None if place is None else span_of(place),
            hint=f"{hint}; `chimerac explain` shows all that PyTorch says; see docs/modules.md",
        )
        self.error = error
        self.batched: Exception | None = None


def trace(
    module: torch.nn.Module, arguments: tuple[Any, ...], named: Mapping[str, Any], dynamic: Any
) -> tuple[ExportedProgram, Mutations]:
    """The graph of a call, without mutation, and what it sets the module's buffers to.

    Args:
        arguments, named: of the call.
        dynamic: as ``torch.export.export`` takes it; None where all shapes are fixed.

    Raises:
        TracingError: CHM210, PyTorch cannot trace it.
    """
    _register_result(module)
    try:
        with torch.no_grad(), warnings.catch_warnings(), WholeRecurrences(), _quiet():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own, about its pytrees
            warnings.filterwarnings("ignore", r"The tensor attribute.*_flat_weights", UserWarning)  # of its own layers
            program = torch.export.export(module, arguments, dict(named) or None, dynamic_shapes=dynamic)
            _loosen_views(program)
            return functional(program, KNOWN)
    except UserError:
        raise
    except Exception as error:
        raise TracingError(module, error) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drop what PyTorch writes to the error stream of a trace that fails, such as graphs: the error says it all."""
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = logger.level
    written = io.StringIO()
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stderr(written):
            yield
    finally:
        logger.setLevel(level)
    sys.stderr.write(written.getvalue())


def _loosen_views(program: ExportedProgram) -> None:
    """Let views of results of attention be copies: PyTorch's kernels lay these out otherwise than other products."""
    aten = torch.ops.aten
    if any(node.target is aten.scaled_dot_product_attention.default for node in program.graph.nodes):
        for node in program.graph.nodes:
            if node.target is aten.view.default:
                node.target = aten.reshape.default


def _register_result(module: torch.nn.Module) -> None:
    """Let PyTorch know a dataclass that forward says it returns."""
    try:
        returned = typing.get_type_hints(module.forward).get("return")
    except (NameError, TypeError):  # names that only type checkers know
        return
    if inspect.isclass(returned) and dataclasses.is_dataclass(returned) and returned not in pytree.SUPPORTED_NODES:
        torch.export.register_dataclass(returned)


def tensors_of(value: Any) -> dict[str, Any]:
    """The leaves of a result or an argument by name: ``logits``, ``0``, ``hidden.0``; "" where it is one leaf."""
    return dict(leaves_of(value))


def leaves_of(value: Any) -> list[tuple[str, Any]]:
    """The same in order; keys with dots may make names the same."""
    leaves, _ = pytree.tree_flatten_with_path(value)
    return [(".".join(_key(part) for part in path), leaf) for path, leaf in leaves]


def _key(part: Any) -> str:
    for name in ("key", "idx", "name"):
        if hasattr(part, name):
            return str(getattr(part, name))
    return str(part)
