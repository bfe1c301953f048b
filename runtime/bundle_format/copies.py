"""Compressed copies of files, which lie beside them for servers to send: what is in one must be the file."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from chimerac.runtime.bundle_format.regular import open_regular
from chimerac.runtime.errors import BundleError

GZIP, BROTLI = ".gz", ".br"
#: Codings of HTTP by preference → how the names of copies in them end.
CODINGS: Final = {"br": BROTLI, "gzip": GZIP}


def brotli() -> Any:
    """The module, or None where it is not installed."""
    try:
        return import_module("brotli")
    except ImportError:
        return None


def unpacked(coding: str, packed: bytes, most: int) -> bytes | None:
    """What is in a copy; None if it is damaged, has more than ``most`` bytes, or cannot be read by this Python."""
    return _gunzipped(packed, most) if coding == "gzip" else _unbrotlied(packed, most)


def _gunzipped(packed: bytes, most: int) -> bytes | None:
    reader = zlib.decompressobj(31)
    try:
        data = reader.decompress(packed, most + 1)
    except zlib.error:
        return None
    return data if reader.eof and not reader.unused_data and len(data) <= most else None


def _unbrotlied(packed: bytes, most: int) -> bytes | None:
    module = brotli()
    if module is None:
        return None
    reader = module.Decompressor()
    try:
        data: bytes = reader.process(packed, output_buffer_limit=most + 1)
    except module.error:
        return None
    return data if reader.is_finished() and len(data) <= most else None


def verify_copies(folder: str | Path, files: Iterable[tuple[str, int, str]]) -> None:
    """Compare what is in the copies that there are with the files: names, bytes, SHA-256 in hexadecimal.

    Copies with brotli are passed over where Python has no brotli. Raises BundleError CHM412 for the first difference.
    """
    for name, size, sha256 in files:
        for coding, ending in CODINGS.items():
            path = Path(folder) / f"{name}{ending}"
            if not path.is_symlink() and (not path.exists() or (coding == "br" and brotli() is None)):
                continue
            try:
                with open_regular(path) as stream:
                    data = unpacked(coding, stream.read(2 * size + 4096), size)
            except OSError:
                data = None
            if data is None or hashlib.sha256(data).hexdigest() != sha256:
                hint = f"servers would send it in place of {name}: delete it, or build the bundle again"
                raise BundleError("CHM412", f"it does not hold {name}, compressed", path=path, hint=hint)
