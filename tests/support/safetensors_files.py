"""Safetensors files made by hand, so that any field of them can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def file_of(header: Any, data: bytes, *, length: int | None = None) -> bytes:
    """A file of a header, which is JSON or something that is none, and its data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype: Any, shape: Any, begin: Any, end: Any) -> dict[str, Any]:
    """A line of the list."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def small_header() -> dict[str, Any]:
    """Of a good file with 44 bytes of data."""
    return {
        "__metadata__": {"format": "pt"},
        "b": entry("F32", [2, 3], 20, 44),
        "a": entry("BF16", [4], 0, 8),
        "c": entry("U8", [3, 4], 8, 20),
    }


SMALL_DATA = bytes(range(44))


def write_folder(folder: Path, files: dict[str, Any]) -> Path:
    """A folder of files: bytes as they are, anything else as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return folder
