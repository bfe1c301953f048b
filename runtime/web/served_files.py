"""The files of a web bundle that may be served: those of its manifest, opened without following links."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from chimerac.runtime.bundle_format import MANIFEST_NAME, read_manifest
from chimerac.runtime.bundle_format.copies import CODINGS, WORTH, gzipped, unpacked
from chimerac.runtime.bundle_format.regular import open_regular
from chimerac.runtime.errors import BundleError

TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mts": "text/plain; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".wasm": "application/wasm",
}
#: A larger file is sent as it is: weights hardly shrink.
MAX_COMPRESSED: Final = 4 << 20


@dataclass(frozen=True)
class Opened:
    """A file that is open for reading, closed by its user. ``tag`` changes whenever the file does.

    ``sha256`` is what the manifest says; empty of the manifest itself.
    """

    name: str
    stream: BinaryIO
    bytes: int
    type: str
    tag: str
    sha256: str = ""


class ServedFiles:
    """The regular files that the manifest in ``folder`` lists, and the manifest itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, str] = {}  # → SHA-256
        self._manifest = ""  # the tag of the manifest that the names are from
        self._compressed: dict[str, bytes] = {}  # tag → gzip, of files that have none beside them
        self._copies: dict[str, bool] = {}  # tags of a file and of one beside it → whether that holds it
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
                self._copies.clear()
            sha256 = self._names.get(name)
        return None if sha256 is None else self._open(name, sha256)

    def compressed(self, file: Opened, codings: Collection[str]) -> tuple[str, bytes | None]:
        """A coding of the given ones and the bytes of a file in it; none where that saves little.

        A file beside it that holds the same has them, ``NAME.br`` or ``NAME.gz``; else they are made once, with gzip.
        """
        for coding, ending in CODINGS.items():
            beside = self._open(f"{file.name}{ending}") if coding in codings else None
            if beside is not None:
                with beside.stream as stream:
                    packed = stream.read(file.bytes)
                if self._holds(file, coding, beside.tag, packed):
                    return coding, packed
        made = self._gzipped(file) if "gzip" in codings else None
        return ("", None) if made is None else ("gzip", made)

    def _holds(self, file: Opened, coding: str, tag: str, packed: bytes) -> bool:
        """Whether a copy holds a file, looked at once."""
        key = f"{file.tag} {tag}"
        found = self._copies.get(key)
        if found is None:
            data = unpacked(coding, packed, file.bytes)
            found = self._copies[key] = data is not None and data == file.stream.read(file.bytes + 1)
            file.stream.seek(0)
        return found

    def _gzipped(self, file: Opened) -> bytes | None:
        if file.bytes > MAX_COMPRESSED:
            return None
        with self._lock:
            packed = self._compressed.get(file.tag)
            if packed is None:
                packed = self._compressed[file.tag] = gzipped(file.stream.read(MAX_COMPRESSED))
        return packed if len(packed) < WORTH * file.bytes else None

    def _listed(self) -> dict[str, str]:
        try:
            return {entry.name: entry.sha256 for entry in read_manifest(self._folder).files}
        except BundleError:
            return {}  # a build is exchanging the folder, or somebody has broken it

    def _open(self, name: str, sha256: str = "") -> Opened | None:
        try:
            stream = open_regular(self._folder / name)
        except OSError:
            return None
        found = os.fstat(stream.fileno())
        tag = f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"
        kind = TYPES.get(Path(name).suffix, "application/octet-stream")
        return Opened(name, stream, found.st_size, kind, tag, sha256)
