"""Files that training reads and writes: whole, of the right form, or one error."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from chimerac.compiler.errors import UserError
from chimerac.runtime.bundle_format import write_atomically
from chimerac.runtime.bundle_format.regular import open_input
from chimerac.runtime.errors import BundleError

Tokens = NDArray[np.uint16]
Integers = NDArray[np.int64]
T = TypeVar("T")


def write_whole(file: Path, data: bytes) -> None:
    """Replace ``file`` in one instant, after its new content has reached the disk. Raises UserError CHM256."""
    try:
        write_atomically(file, data)
    except BundleError as error:
        raise UserError("CHM256", f"can't write {file}: {error.message}") from error


def read_whole(file: Path, load: Callable[[BinaryIO], T]) -> T:
    """What ``load`` makes of a file. Raises UserError CHM254: it can't be read; CHM252: it is not what it should be."""
    try:
        with open_input(file) as stream:
            return load(stream)
    except OSError as error:
        raise UserError("CHM254", f"can't read {file}: {error.strerror or error}") from error
    except MemoryError as error:
        raise UserError("CHM254", f"can't read {file}: it needs more memory than there is") from error
    except (ValueError, TypeError, KeyError, EOFError, RecursionError, zipfile.BadZipFile) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise UserError("CHM252", f"{file} is damaged: {why}") from error


def read_text(file: Path, errors: str = "strict") -> str:
    """The text of a file of UTF-8; errors as of ``read_whole``, CHM254 for what is not UTF-8, too."""
    try:
        return read_whole(file, lambda stream: TextIOWrapper(stream, "utf-8", errors).read())
    except UserError as error:
        raise UserError("CHM254", error.message) from error


def read_tokens(file: Path) -> Tokens:
    """Running text as token numbers, u16 little-endian; errors as of ``read_whole``."""

    def load(stream: BinaryIO) -> Tokens:
        if (size := os.fstat(stream.fileno()).st_size) % 2:
            raise ValueError(f"its {size} bytes are no whole number of tokens of 2 bytes")
        return np.fromfile(stream, "<u2")

    return read_whole(file, load)


def read_rows(file: Path) -> tuple[NDArray[Any], Integers, Integers]:
    """Padded rows of tokens, and where the targets of each start and end; errors as of ``read_whole``."""

    def load(stream: BinaryIO) -> tuple[NDArray[Any], Integers, Integers]:
        with np.load(stream, allow_pickle=False) as arrays:
            if missing := {"tokens", "loss_start", "length"} - set(arrays):
                raise ValueError(f"it has no {', '.join(sorted(missing))}")
            tokens, starts, lengths = (arrays[name] for name in ("tokens", "loss_start", "length"))
        if any(array.dtype.kind not in "iu" for array in (tokens, starts, lengths)):
            raise TypeError("its arrays are no integers")
        if tokens.ndim != 2 or not starts.shape == lengths.shape == tokens.shape[:1]:
            raise ValueError(f"shapes {tokens.shape}, {starts.shape} and {lengths.shape} are not [n, L], [n] and [n]")
        return tokens, starts.astype(np.int64), lengths.astype(np.int64)

    return read_whole(file, load)


def read_examples(file: Path) -> list[dict[str, Any]]:
    """Held-out rows {"text", "json", "intent"} of texts, the second of JSON; errors as of ``read_whole``."""

    def load(stream: BinaryIO) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in stream.read().decode("utf-8").splitlines() if line]
        for row in rows:
            if not isinstance(row, dict) or not all(isinstance(row[key], str) for key in ("text", "json", "intent")):
                raise TypeError('a line is no row {"text": …, "json": …, "intent": …} of texts')
            json.loads(row["json"])
        return rows

    return read_whole(file, load)
