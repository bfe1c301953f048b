"""Files that training reads and writes: whole, of the right form, or one error."""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

import numpy as np
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic
from numpy.typing import NDArray

from chimerac.compiler.errors import UserError
from chimerac.compiler.texts import MOST_TEXT
from chimerac.runtime.bundle_format import write_atomically
from chimerac.runtime.bundle_format.regular import open_input
from chimerac.runtime.errors import BundleError

Tokens = NDArray[np.uint16]
Integers = NDArray[np.int64]
T = TypeVar("T")

#: Bytes of a file of token numbers, and of the arrays in a file of rows.
MOST_TOKENS, MOST_ROWS = 1 << 34, 1 << 32
_HEADERS: Final = {(1, 0): read_array_header_1_0, (2, 0): read_array_header_2_0}


def write_whole(file: Path, data: bytes) -> None:
    """Replace ``file`` in one instant, after its new content has reached the disk. Raises UserError CHM256."""
    try:
        write_atomically(file, data)
    except BundleError as error:
        raise UserError("CHM256", f"can't write {file}: {error.message}") from error


def read_whole(file: Path, load: Callable[[BinaryIO], T], most: int = MOST_TOKENS) -> T:
    """What ``load`` makes of a file of at most so many bytes.

    Raises:
        UserError: CHM254, it can't be read, or is larger; CHM252, it is not what it should be.
    """
    try:
        with open_input(file) as stream:
            if os.fstat(stream.fileno()).st_size > most:
                raise UserError("CHM254", f"can't read {file}: it has over {most:,} bytes")
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
        return read_whole(file, lambda stream: TextIOWrapper(stream, "utf-8", errors).read(), MOST_TEXT)
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
    names = ("tokens", "loss_start", "length")

    def load(stream: BinaryIO) -> tuple[NDArray[Any], Integers, Integers]:
        with np.load(stream, allow_pickle=False) as arrays:
            if missing := set(names) - set(arrays):
                raise ValueError(f"it has no {', '.join(sorted(missing))}")
            _check_sizes(arrays.zip, names)
            tokens, starts, lengths = (arrays[name] for name in names)
        if any(array.dtype.kind not in "iu" for array in (tokens, starts, lengths)):
            raise TypeError("its arrays are no integers")
        if tokens.ndim != 2 or not starts.shape == lengths.shape == tokens.shape[:1]:
            raise ValueError(f"shapes {tokens.shape}, {starts.shape} and {lengths.shape} are not [n, L], [n] and [n]")
        return tokens, starts.astype(np.int64), lengths.astype(np.int64)

    return read_whole(file, load)


def _check_sizes(archive: zipfile.ZipFile, names: tuple[str, ...]) -> None:
    """Raise ValueError for arrays that take more than MOST_ROWS, or other bytes than the archive has of them."""
    infos = [archive.getinfo(f"{name}.npy") for name in names]
    if sum(info.file_size for info in infos) > MOST_ROWS:
        raise ValueError(f"its arrays take over {MOST_ROWS:,} bytes")
    for name, info in zip(names, infos, strict=True):
        with archive.open(info) as member:
            read_header = _HEADERS.get(read_magic(member))
            if read_header is None:
                raise ValueError(f"the array {name} is of another version")
            shape, _, dtype = read_header(member)
            if member.tell() + math.prod(shape) * dtype.itemsize != info.file_size:
                raise ValueError(f"the array {name} has other bytes than its shape {shape} takes")


def read_examples(file: Path) -> list[dict[str, Any]]:
    """Held-out rows {"text", "json", "intent"} of texts, the second of JSON; errors as of ``read_whole``."""

    def load(stream: BinaryIO) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in stream.read().decode("utf-8").splitlines() if line]
        for row in rows:
            if not isinstance(row, dict) or not all(isinstance(row[key], str) for key in ("text", "json", "intent")):
                raise TypeError('a line is no row {"text": …, "json": …, "intent": …} of texts')
            json.loads(row["json"])
        return rows

    return read_whole(file, load, MOST_TEXT)
