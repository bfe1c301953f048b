"""Native bundles that this process has opened: the sessions of one share its mapping, tokenizer, tables and threads."""

from __future__ import annotations

import ctypes as ct
import os
import threading
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chimerac.runtime.bundle_format import read_container
from chimerac.runtime.bundle_format.compared import LARGE
from chimerac.runtime.errors import BundleError
from chimerac.runtime.sessions.native_bank import NativeBank
from chimerac.runtime.sessions.native_grammar import NativePack
from chimerac.runtime.sessions.native_library import NativeLibrary

_SKIP_CHECKSUMS: Final = 1
_PIECE: Final = 8 << 20  #: bytes, which take some milliseconds


@dataclass(frozen=True)
class NativeFiles:
    """Files that belong together, and how they are to be opened.

    Attributes:
        skip_checksums: for files whose SHA-256 was just compared.
        threads: that share the work; 0 is one per core, at most 8.
        spans: a bank to guess from; ``skip_checksums`` is about it too where it is the bundle's ``own``.
    """

    library: Path
    weights: Path
    tokenizer: Path | None
    grammars: Path | None
    skip_checksums: bool
    threads: int
    spans: Path | None = None
    own_spans: bool = False

    def identity(self) -> tuple[object, ...]:
        """Equal for the same files, unchanged; a file that is missing is refused when it is opened."""
        paths = (self.library, self.weights, self.tokenizer, self.grammars, self.spans)
        return (os.getpid(), self.threads, *map(_identity, paths))


def _identity(path: Path | None) -> tuple[object, ...]:
    if path is None:
        return ()
    try:
        status = os.stat(path)
    except OSError:
        return (object(),)
    return (path.resolve(), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _compare_checksums(path: Path) -> None:
    """What opening would do in one call, in pieces, between which signals are looked at; raises BundleError CHM406."""
    container = read_container(path, verify=False)
    for name, view in container.sections.items():
        data, crc = container.raw(name), 0
        for start in range(0, len(data), _PIECE):
            crc = zlib.crc32(data[start : start + _PIECE], crc)
        if crc != view.crc32:
            hint = "copy or download the file again"
            raise BundleError("CHM406", f"section {name} is damaged", path=path, hint=hint)


@dataclass(eq=False)
class NativeBundle:
    """A bundle that the C runtime has opened; made by ``open_shared``, closed by the last ``close_shared``."""

    files: NativeFiles
    library: NativeLibrary
    handle: ct.c_void_p = field(default_factory=ct.c_void_p)
    key: tuple[object, ...] = ()
    uses: int = 0
    bank: NativeBank | None = None
    _pack: NativePack | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self) -> None:
        """Map and check the files; raises BundleError CHM400 to CHM407, CHM414, CHM420 to CHM422, CHM430, CHM434."""
        files = self.files
        compared = files.skip_checksums
        if not compared and _size(files.weights) >= LARGE:
            _compare_checksums(files.weights)
            compared = True
        flags = _SKIP_CHECKSUMS if compared else 0
        tokenizer = None if files.tokenizer is None else str(files.tokenizer).encode()
        self.library.call(
            "chm_bundle_open_files", str(files.weights).encode(), tokenizer, flags, None, ct.byref(self.handle)
        )
        try:
            self.library.call("chm_bundle_set_threads", self.handle, files.threads)
            if files.spans is not None:
                compared = files.own_spans and files.skip_checksums
                self.bank = NativeBank(self.library, self.handle, files.spans, skip_checksums=compared)
        except BundleError:
            self.close()
            raise

    def pack(self) -> NativePack:
        """The bundle's own grammars, with the tokenizer's tables; raises what opening a pack raises."""
        with self._lock:
            if self._pack is None:
                skip = self.files.skip_checksums
                self._pack = NativePack(self.library, self.handle, self.files.grammars, skip_checksums=skip)
            return self._pack

    def close(self) -> None:
        """No session uses it any more."""
        if self._pack is not None:
            self._pack.close()
            self._pack = None
        if self.bank is not None:
            self.bank.close()
            self.bank = None
        if self.handle:
            self.library.call("chm_bundle_close", self.handle)
            self.handle = ct.c_void_p()


_open: Final[dict[tuple[object, ...], NativeBundle]] = {}
_lock: Final = threading.Lock()


def open_shared(files: NativeFiles) -> NativeBundle:
    """The bundle of these files, opened unless a session of this process has it open; errors as of ``open``."""
    key = files.identity()
    with _lock:
        bundle = _open.get(key)
        if bundle is None:
            bundle = NativeBundle(files, NativeLibrary(files.library), key=key)
            bundle.open()
            _open[key] = bundle
        bundle.uses += 1
        return bundle


def close_shared(bundle: NativeBundle) -> None:
    """A session does not use the bundle any more; the last one closes it."""
    with _lock:
        bundle.uses -= 1
        if not bundle.uses:
            _open.pop(bundle.key, None)
            bundle.close()
