"""Where a user wrote what PyTorch traces: the module whose code runs, and the line."""

from __future__ import annotations

import linecache
import os
import re
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
import torch.fx.traceback as fx_traceback
from torch.fx import Node
from torch.overrides import TorchFunctionMode

from chimerac.compiler.errors import Span

#: Folders whose frames are not the user's: PyTorch, the frontends, and Python's own library, but for what is installed.
_OTHERS = tuple(str(folder) + os.sep for folder in (Path(torch.__file__).parent, Path(__file__).parents[1]))
_PYTHON = sysconfig.get_path("stdlib") + os.sep
_INSTALLED = ("site-packages", "dist-packages")
#: The frame under which the user's code is traced.
_TRACER = str(Path(__file__).with_name("tracing.py"))
_KEY = "chimerac.place"


@dataclass(frozen=True, order=True)
class Place:
    """A place in a user's module.

    Attributes:
        path: of the submodule whose code it is, ``layers.3.mixer``; empty for the module itself.
        file: relative to the working directory where it is under it; empty if nobody knows.
        line: 1-based.
    """

    path: str
    file: str
    line: int

    def __str__(self) -> str:
        return ", ".join(part for part in (self.path, self.at) if part)

    @property
    def at(self) -> str:
        """``model.py:42``"""
        return f"{self.file}:{self.line}" if self.file else ""


class Places(TorchFunctionMode):
    """Notes on each node that is traced meanwhile where it comes from.

    PyTorch keeps the lines of methods called forward only, and the path of modules that are called, not of those whose
    other methods are. Here both are read from the Python frames that run.

    Attributes:
        last: the last place that called PyTorch.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.paths = {id(inner): name for name, inner in module.named_modules()}
        self.last: Place | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """While this lasts places are noted."""
        with self, fx_traceback.preserve_node_meta():
            yield

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if torch.compiler.is_dynamo_compiling():  # the step of a scan, which PyTorch reads without running it
            return func(*args, **(kwargs or {}))
        place = self._here(sys._getframe(1))
        if place is None:
            return func(*args, **(kwargs or {}))
        self.last = place
        with fx_traceback.annotate({_KEY: place}):
            return func(*args, **(kwargs or {}))

    def _here(self, frame: FrameType | None) -> Place | None:
        """The innermost line of the user's below the tracer, and the innermost module whose method runs."""
        line, path = None, None
        while frame is not None and frame.f_code.co_filename != _TRACER:
            if line is None and users(frame.f_code.co_filename):
                line = (frame.f_code.co_filename, frame.f_lineno)
            if path is None:
                path = self.paths.get(id(first_argument(frame.f_code, frame)))
            frame = frame.f_back
        if frame is None or line is None:
            return None  # what PyTorch does by itself, such as tracing a graph once more
        return Place(path or "", shown(line[0]), line[1])


def first_argument(code: CodeType, frame: FrameType) -> object:
    """What a function was given first: of a method its object."""
    return frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None


def users(file: str) -> bool:
    """Whether a file is neither PyTorch's nor ours nor Python's."""
    own = file.startswith(_PYTHON) and not file.removeprefix(_PYTHON).startswith(_INSTALLED)
    return not own and not file.startswith(("<", *_OTHERS))


def shown(file: str) -> str:
    """A file as a message names it: relative to the working directory where it is under it."""
    path = Path(file)
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else file


def place_of(node: Node, path: str) -> Place:
    """Where a node comes from.

    Args:
        path: of its module, for all that is known otherwise.
    """
    noted = (node.meta.get("custom") or {}).get(_KEY)
    if isinstance(noted, Place):
        return noted
    lines = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    for file, line in reversed(lines):
        if users(file):
            return Place(path, shown(file), int(line))
    return Place(path, "", 0)


def span_of(place: Place) -> Span:
    """The line of a place, for an error."""
    text = linecache.getline(place.file, place.line).strip()
    return Span(place.file, place.line, 1, len(text), text)
