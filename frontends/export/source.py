"""``file.py:Class``: a module of a user's file, made without arguments."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import torch

from chimerac.compiler.errors import Span, UserError, did_you_mean
from chimerac.frontends.export.places import shown, users

_FORM = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")


def load_source(source: str, *, seed: int = 0) -> torch.nn.Module:
    """The module that a file's class makes. The file is run, as Python would.

    Args:
        source: ``file.py:Class``; the class is an ``nn.Module`` that needs no arguments.
        seed: of the random numbers that the class draws, so that everybody gets the same weights.

    Raises:
        UserError: CHM219 if there is no such file or class, the file or the class raises an error, or the class needs
            arguments or makes no ``nn.Module``.
    """
    found = _FORM.fullmatch(source)
    if found is None:
        raise UserError("CHM219", f"{source!r} is no file.py:Class", hint="for example model.py:Model")
    file, name = Path(found["file"]), found["name"]
    if not file.is_file():
        raise UserError("CHM219", f"there is no file {file}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        loaded = _run(file)
        made = _made(loaded, file, name)
    return made


def _made(loaded: ModuleType, file: Path, name: str) -> torch.nn.Module:
    kind = getattr(loaded, name, None)
    if not (isinstance(kind, type) and issubclass(kind, torch.nn.Module)):
        classes = [n for n, v in vars(loaded).items() if isinstance(v, type) and issubclass(v, torch.nn.Module)]
        message = f"{name} of {file} is no nn.Module" if hasattr(loaded, name) else f"{file} has no class {name}"
        hint = did_you_mean(name, classes) or (f"it has {', '.join(classes)}" if classes else None)
        raise UserError("CHM219", message, hint=hint)
    needed = [
        p.name
        for p in inspect.signature(kind).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if needed:
        message = f"{name} of {file} needs arguments: {', '.join(needed)}"
        raise UserError("CHM219", message, hint="give them defaults, or write a class that calls it with some")
    with _importable(file.resolve().parent):
        try:
            made = kind()
        except Exception as error:
            _refuse(error, f"{name}() of {file}")
    return made


def _run(file: Path) -> ModuleType:
    name = f"_chimerac_source_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file.resolve())
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded  # dataclasses and pickles look there
    with _importable(file.resolve().parent):
        try:
            spec.loader.exec_module(loaded)
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            _refuse(error, str(file))
    return loaded


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Lets a file import those beside it, as it could if it were run by itself."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _refuse(error: BaseException, what: str) -> NoReturn:
    """An error of the user's own code, with the last of its lines."""
    message = f"{what} raises {type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        span = Span(shown(error.filename), error.lineno, error.offset or 1, text=(error.text or "").rstrip("\n"))
        raise UserError("CHM219", message, span=span) from None
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if _own(frame.filename)]
    if not lines:
        raise UserError("CHM219", message) from None
    last = lines[-1]
    text = (last.line or "").strip()
    raise UserError("CHM219", message, span=Span(shown(last.filename), last.lineno or 1, 1, len(text), text)) from None


def _own(file: str) -> bool:
    return users(file) and "importlib" not in Path(file).parts
