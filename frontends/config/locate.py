"""Names and paths of configs to files."""

from __future__ import annotations

import os
from pathlib import Path

from chimerac.compiler.errors import Span, UserError, did_you_mean
from chimerac.frontends.config.source import MAX_BYTES, Source, decode, make_source

BUILTIN = Path(__file__).parent / "builtin"
SUFFIX = ".chimera"


def builtin_names() -> tuple[str, ...]:
    """The configs that come with chimerac."""
    return tuple(sorted(path.stem for path in BUILTIN.glob(f"*{SUFFIX}")))


def shipped_file(reference: str | Path, suffix: str) -> Path | None:
    """The file of a built-in config that comes beside it, such as its weights (``.safetensors``); None without one."""
    path = BUILTIN / f"{reference}{suffix}"
    return path if str(reference) in builtin_names() and path.is_file() else None


def locate(reference: str, folder: Path, span: Span | None = None) -> Path:
    """The file of a built-in's name or of a path relative to ``folder``. A built-in's name wins over a file's.

    Raises:
        UserError: CHM100 when there is no such file.
    """
    if reference in builtin_names():
        return BUILTIN / f"{reference}{SUFFIX}"
    try:
        path = (folder / reference).expanduser()
        if path.is_file():
            return path
        special, beside = path.exists(), _nearby(path)
    except (OSError, ValueError, RuntimeError):
        raise UserError("CHM100", f"{reference!r} is not a path", span=span) from None
    if special:
        raise UserError("CHM100", f"{reference!r} is not a file", span=span, hint="name a config file")
    hint = did_you_mean(reference, [*builtin_names(), *beside])
    raise UserError(
        "CHM100",
        f"there is no config {reference!r}",
        span=span,
        hint=hint or f"a path, or a built-in config: {', '.join(builtin_names())}",
    )


def read(path: Path, span: Span | None = None) -> Source:
    """The text of a config file.

    Raises:
        UserError: CHM100 when it can't be read, CHM101 or CHM104 as ``make_source``.
    """
    # this needs numpy, which help does without
    from chimerac.runtime.bundle_format.regular import open_input

    try:
        with open_input(path) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError("CHM100", f"can't read {path}: {error.strerror}", span=span) from None
    name = shown(path)
    return make_source(decode(data, name), name)


def shown(path: Path) -> str:
    """A path as errors show it: relative where that is shorter, the bare name for a built-in."""
    if path.resolve().parent == BUILTIN.resolve():
        return path.name
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _nearby(path: Path) -> list[str]:
    try:
        return [str(path.with_name(item.name)) for item in path.parent.iterdir() if item.is_file()][:1000]
    except OSError:
        return []
