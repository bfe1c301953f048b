"""The files of a web bundle that may be served: those of its manifest, opened without following links."""

from __future__ import annotations

import os
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from chimerac.runtime.bundle_format import MANIFEST_NAME, read_manifest
from chimerac.runtime.bundle_format.regular import open_regular
from chimerac.runtime.errors import BundleError

TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
}
#: A larger file is sent as it is: weights hardly shrink.
MAX_COMPRESSED: Final = 4 << 20


@dataclass(frozen=True)
class Opened:
    """A file that is open for reading, closed by its user. ``tag`` changes whenever the file does."""

    stream: BinaryIO
    bytes: int
    type: str
    tag: str


class ServedFiles:
    """The regular files that the manifest in ``folder`` lists, and the manifest itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: frozenset[str] = frozenset()
        self._manifest = ""  # the tag of the manifest that the names are from
        self._compressed: dict[str, bytes] = {}  # tag → gzip
        self._lock = threading.Lock()

    def open(self, name: str) -> Opened | None:
        """A listed file; None for any other name, and for what is no regular file."""
        manifest = self._open(MANIFEST_NAME)
        if manifest is None:
            return None
        if name == MANIFEST_NAME:
            return manifest
        manifest.stream.close()
        with self._lock:
            if manifest.tag != self._manifest:
                self._names, self._manifest = self._listed(), manifest.tag
                self._compressed.clear()
            if name not in self._names:
                return None
        return self._open(name)

    def compressed(self, file: Opened) -> bytes | None:
        """The bytes of a file as gzip, made once; None where that saves little."""
        if file.bytes > MAX_COMPRESSED:
            return None
        with self._lock:
            packed = self._compressed.get(file.tag)
            if packed is None:
                packer = zlib.compressobj(9, zlib.DEFLATED, 31)
                packed = packer.compress(file.stream.read(MAX_COMPRESSED)) + packer.flush()
                self._compressed[file.tag] = packed
        return packed if len(packed) < 0.9 * file.bytes else None

    def _listed(self) -> frozenset[str]:
        try:
            return frozenset(entry.name for entry in read_manifest(self._folder).files)
        except BundleError:
            return frozenset()  # a build is exchanging the folder, or somebody has broken it

    def _open(self, name: str) -> Opened | None:
        try:
            stream = open_regular(self._folder / name)
        except OSError:
            return None
        found = os.fstat(stream.fileno())
        tag = f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"
        kind = TYPES.get(Path(name).suffix, "application/octet-stream")
        return Opened(stream, found.st_size, kind, tag)
