"""JSON of model folders, read as what a stranger wrote: sizes and nesting first, then one error that names the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from chimerac.compiler.errors import UserError
from chimerac.runtime.bundle_format.regular import open_input

MAX_BYTES: Final = 96 << 20  #: a tokenizer of 256,000 tokens has 35 MB
MAX_BRANCHES: Final = 1 << 22  #: brackets, those in texts among them; each merge of a newer tokenizer.json is a list


def invalid(where: str, why: str, hint: str | None = None) -> UserError:
    """CHM260: what the file says cannot be."""
    return UserError("CHM260", f"{where}: {why}", hint=hint)


def unsupported(where: str, what: str, hint: str | None = None) -> UserError:
    """CHM261: something that this version does not do."""
    return UserError("CHM261", f"{where}: {what}", hint=hint)


def read_text(path: Path, most: int = MAX_BYTES) -> str:
    """A file of UTF-8; raises UserError CHM260."""
    try:
        with open_input(path) as file:
            small = os.fstat(file.fileno()).st_size <= most
            data = file.read(most + 1) if small else b""
    except OSError as error:
        raise invalid(str(path), f"it cannot be read: {error.strerror}") from None
    if not small or len(data) > most:
        raise invalid(str(path), f"it has more than {most} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise invalid(str(path), "it is not UTF-8") from None


def read_value(path: Path) -> Any:
    """What a file of JSON holds; raises UserError CHM260."""
    text = read_text(path)
    if text.count("[") + text.count("{") > MAX_BRANCHES:
        raise invalid(str(path), f"it has more than {MAX_BRANCHES:,} lists and objects")
    try:
        return json.loads(text)
    except RecursionError:
        raise invalid(str(path), "it is nested too deep") from None
    except ValueError as error:
        raise invalid(str(path), f"it is not JSON: {error}") from None


def read_object(path: Path) -> dict[str, Any]:
    """The object that a file of JSON holds; raises UserError CHM260."""
    value = read_value(path)
    if not isinstance(value, dict):
        raise invalid(str(path), "it is no JSON object")
    return value


def field(where: str, value: dict[str, Any], name: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
    """A key's value, of this type; the default where there is none or null. Raises UserError CHM260."""
    found = value.get(name)
    if found is None:
        return default
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is int):
        raise invalid(where, f"{name} is {type(found).__name__}, not {getattr(kind, '__name__', kind)}")
    return found


def a_list(where: str, value: dict[str, Any], name: str) -> list[Any]:
    """A key's value, which must be a list; raises UserError CHM260."""
    found: list[Any] = field(where, value, name, list)
    if found is None:
        raise invalid(where, f"it has no {name}")
    return found
