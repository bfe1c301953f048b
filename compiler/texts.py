"""Files of text that somebody names: read within bounds, or one error."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from chimerac.compiler.errors import UserError

#: Bytes of a file of texts or rows, of a grammar or a schema, and of the names of a home.
MOST_TEXT, MOST_GRAMMAR, MOST_NAMES = 1 << 28, 1 << 24, 1 << 20
#: Bytes of a file with the names of many homes.
MOST_HOMES: Final = 1 << 26


def read_text(path: str | Path, what: str, code: str, most: int) -> str:
    """The text of a file of at most so many bytes of UTF-8.

    Args:
        what: it is, as "the grammar", for the message.
        code: of the error.

    Raises:
        UserError: ``code``, it cannot be read, is larger, or is not UTF-8.
    """
    # this needs numpy, which help does without
    from chimerac.runtime.bundle_format.regular import open_input

    try:
        with open_input(path) as file:
            small = os.fstat(file.fileno()).st_size <= most
            data = file.read(most + 1) if small else b""
        if small and len(data) <= most:
            return data.decode("utf-8-sig")
        why = f"it has over {most:,} bytes"
    except UnicodeDecodeError:
        why = "it is not UTF-8"
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        why = getattr(error, "strerror", None) or str(error)
    raise UserError(code, f"cannot read {what} {path}: {why}")


def json_of(text: str) -> Any:
    """The value of a text of JSON; raises ValueError for what is none, however deep it is nested."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
