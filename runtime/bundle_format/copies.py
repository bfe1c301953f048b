"""Compressed copies of files, which lie beside them for servers to send: what is in one must be the file."""

from __future__ import annotations

import os
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
#: What a copy may have of the size of its file to be worth sending.
WORTH: Final = 0.9


def brotli() -> Any:
    """The module, or None where it is not installed."""
    try:
        return import_module("brotli")
    except ImportError:
        return None


def gzipped(data: bytes) -> bytes:
    """A copy with gzip, the same for the same data: no name and no time are in it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


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


def verify_copies(folder: str | Path, names: Iterable[str]) -> None:
    """Compare what is in the copies that there are with the files of these names.

    Copies with brotli are passed over where Python has no brotli. Raises BundleError CHM412 for the first difference.
    """
    for name in names:
        for coding, ending in CODINGS.items():
            path = Path(folder) / f"{name}{ending}"
            if not os.path.lexists(path) or (coding == "br" and brotli() is None):
                continue
            try:
                with open_regular(path.with_name(name)) as stream:
                    data = stream.read()
                with open_regular(path) as stream:
                    held = unpacked(coding, stream.read(len(data) + 1), len(data))
            except OSError:
                held = None
            if held is None or held != data:
                hint = f"servers would send it in place of {name}: delete it, or build the bundle again"
                raise BundleError("CHM412", f"it does not hold {name}, compressed", path=path, hint=hint)
